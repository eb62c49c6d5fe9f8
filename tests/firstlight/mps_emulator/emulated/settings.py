"""Each setting of configs/trainer/mps.yaml, on the emulated device."""

import sys
from pathlib import Path

import pytest
import torch

from firstlight import build, train
from firstlight.config.compose import compose_config as composed_from
from firstlight.mps.dry_run import dry_run
from firstlight.trainer.compile import TorchCompile
from support.options import get_tiny_model

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import Seen
from support.emulated_mps import PRECISIONS, make_mps_overrides, slow_param

seen = Seen()


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [
        ("adamw", PRECISIONS[0]),
        *(slow_param("adamw", each) for each in PRECISIONS[1:]),
        slow_param("sgd", PRECISIONS[0]),
    ],
)
def test_optimizers_are_fused_and_clip_in_every_precision(compose_cfg, optimizer, precision):
    operator = f"_fused_{optimizer}_"
    before = seen.count(operator)
    words = [f"optimizer={optimizer}", f"trainer.precision={precision}", "trainer.gradient_clip_val=0.01"]
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), *words, "callbacks=none", "logger=none")
    )
    trainer.fit(network, data)

    # 16-mixed may leave out a first step whose gradients overflow.
    assert seen.count(operator) >= before + (2 if precision == "16-mixed" else 4)
    assert all(each.isfinite().all() for each in network.parameters())


@pytest.mark.parametrize("optimizer", ["Adagrad", slow_param("RMSprop"), slow_param("NAdam")])
def test_an_optimizer_without_a_fused_kernel_of_mps_steps_as_it_can(compose_cfg, optimizer):
    # Adagrad takes fused=True, but has no such kernel on MPS.
    words = [f"optimizer._target_=torch.optim.{optimizer}", "trainer.limit_train_batches=1", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *words))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_a_fused_kernel_that_mps_lacks_is_told_beforehand(compose_cfg):
    words = ["optimizer._target_=torch.optim.Adagrad", "+optimizer.fused=true", "callbacks=none"]
    report = dry_run(
        *build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *words)), "32-true", deterministic=False
    )

    assert report.texts("fault") == ["aten::_fused_adagrad_ has no MPS kernel: set optimizer.fused=false"]


@pytest.mark.slow
def test_a_resumed_training_keeps_the_users_choice_of_kernels(tmp_path):
    words = [
        *make_mps_overrides(get_tiny_model("images")),
        "+optimizer.fused=false",
        "test=false",
        f"output_dir={tmp_path / 'run'}",
    ]
    train.main(composed_from("train", words))
    train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"]))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)

    assert saved["epoch"] == 1
    assert {group["fused"] for group in saved["optimizer_states"][0]["param_groups"]} <= {None, False}


def test_clipping_under_loss_scaling_clips_the_true_gradients(compose_cfg):
    words = ["trainer.precision=16-mixed", "trainer.gradient_clip_val=0.5", "callbacks=none", "optimizer=sgd"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *words))
    norms = []
    network.on_before_zero_grad = lambda optimizer: norms.append(
        [each.grad.float().norm().item() for each in network.parameters() if each.grad is not None]
    )
    trainer.fit(network, data)
    total = [sum(each**2 for each in norm) ** 0.5 for norm in norms if norm]

    assert total
    assert all(each <= 0.5 * 1.01 for each in total if each == each and each != float("inf"))


def test_a_network_keeps_its_memory_format(compose_cfg):
    network, _, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images"))))

    assert not trainer.channels_last
    assert not any(isinstance(each, TorchCompile) for each in trainer.callbacks)
    assert all(each.is_contiguous() for each in network.parameters())


def test_batches_are_neither_pinned_nor_copied_behind_the_programs_back(compose_cfg):
    network, data, _ = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images"))))
    copies = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func.__name__ == "to":
                copies.append(kwargs or {})
            return super().__torch_function__(func, types, args, kwargs or {})

    network.transfer_batch_to_device(torch.ones(2).as_subclass(Watched), torch.device("mps"), 0)

    assert not data.train_dataloader().pin_memory
    assert copies
    assert not any(each.get("non_blocking") for each in copies)


def test_metrics_are_counted_on_the_cpu(compose_cfg):
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none"))
    before = seen.count("scatter_add")
    trainer.validate(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert network.val_metrics.confusion_matrix.device.type == "cpu"
    assert before == seen.count("scatter_add")
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


def test_varying_operators_are_allowed_by_default_and_refused_on_request(compose_cfg):
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none"))
    with pytest.warns(UserWarning, match="does not have a deterministic implementation"):
        trainer.fit(network, data)
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none", "trainer.deterministic=true")
    )

    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        trainer.fit(network, data)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.precision=64-true", "An Apple GPU has no 64-bit floats, but trainer.precision=64-true: give trainer"),
        ("trainer.devices=2", "A Mac has one GPU, but trainer.devices=2"),
    ],
)
def test_what_mps_has_not_is_refused_at_once(compose_cfg, word, sentence):
    with pytest.raises(ValueError, match=sentence):
        build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), word))


@pytest.mark.parametrize("size", [1, 32, 96, 225])
def test_images_of_any_size_train(compose_cfg, size):
    words = [f"data.image_size={size}", "data.batch_size=2", "trainer.limit_train_batches=1", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides("tiny_images"), *words))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_texts_come_in_few_shapes(compose_cfg):
    words = ["data.max_length=64", "data.pad_to_multiple_of=16", "data.num_samples=64", "trainer.limit_train_batches=8"]
    network, data, _trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("text")), *words, "callbacks=none")
    )
    # Texts of every length up to the longest.
    data.texts["train"] = ([" ".join(["word1"] * (1 + i)) for i in range(64)], [i % 2 for i in range(64)])
    data.connect(network.tokenizer)
    shapes = {batch["inputs"]["input_ids"].shape for batch in data.train_dataloader()}

    assert {shape[1] for shape in shapes} <= {16, 32, 48, 64}
