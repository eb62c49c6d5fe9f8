"""Settings of configs/trainer/mps.yaml on the emulated device."""

import math
import sys
from pathlib import Path

import pytest
import torch

from firstlight import build, train
from firstlight.config.compose import compose_config
from firstlight.hardware import apple_chip
from firstlight.mps.dry_run import dry_run
from firstlight.run.errors import ConfigError
from firstlight.trainer.compile import TorchCompile
from support.options import get_tiny_model

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import EmulatorStats
from support.emulated_mps import PRECISIONS, make_mps_overrides, slow_param

stats = EmulatorStats()


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [
        ("adamw", PRECISIONS[0]),
        *(slow_param("adamw", precision) for precision in PRECISIONS[1:]),
        slow_param("sgd", PRECISIONS[0]),
    ],
)
def test_fused_optimizers_clip_gradients_in_every_precision(compose_cfg, optimizer, precision):
    operator = f"_fused_{optimizer}_"
    before = stats.count_calls(operator)
    overrides = [f"optimizer={optimizer}", f"trainer.precision={precision}", "trainer.gradient_clip_val=0.01"]
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), *overrides, "callbacks=none", "logger=none")
    )
    trainer.fit(network, data)

    # 16-mixed may skip early steps whose gradients overflow.
    assert stats.count_calls(operator) >= before + (2 if precision == "16-mixed" else 4)
    assert all(param.isfinite().all() for param in network.parameters())


@pytest.mark.parametrize("optimizer", ["Adagrad", slow_param("RMSprop"), slow_param("NAdam")])
def test_optimizer_without_fused_mps_kernel_trains(compose_cfg, optimizer):
    # Adagrad accepts fused=True, but has no fused kernel on MPS.
    overrides = [f"optimizer._target_=torch.optim.{optimizer}", "trainer.limit_train_batches=1", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *overrides))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_dry_run_reports_missing_fused_kernel(compose_cfg):
    overrides = ["optimizer._target_=torch.optim.Adagrad", "+optimizer.fused=true", "callbacks=none"]
    report = dry_run(
        *build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *overrides)),
        "32-true",
        deterministic=False,
    )

    assert report.format_messages("error") == ["aten::_fused_adagrad_ has no MPS kernel. Set optimizer.fused=false."]


@pytest.mark.slow
def test_resume_keeps_fused_setting(tmp_path):
    overrides = [
        *make_mps_overrides(get_tiny_model("images")),
        "+optimizer.fused=false",
        "test=false",
        f"output_dir={tmp_path / 'run'}",
    ]
    train.main(compose_config("train", overrides))
    train.main(compose_config("train", [f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"]))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)

    assert saved["epoch"] == 1
    assert {group["fused"] for group in saved["optimizer_states"][0]["param_groups"]} <= {None, False}


def test_clipping_applies_to_unscaled_gradients(compose_cfg):
    overrides = ["trainer.precision=16-mixed", "trainer.gradient_clip_val=0.5", "callbacks=none", "optimizer=sgd"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), *overrides))
    norms = []
    network.on_before_zero_grad = lambda optimizer: norms.append(
        [param.grad.float().norm().item() for param in network.parameters() if param.grad is not None]
    )
    trainer.fit(network, data)
    totals = [sum(norm**2 for norm in step) ** 0.5 for step in norms if step]

    assert totals
    assert all(total <= 0.5 * 1.01 for total in totals if math.isfinite(total))


def test_memory_format_is_contiguous(compose_cfg):
    network, _, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images"))))

    assert not trainer.channels_last
    assert not any(isinstance(callback, TorchCompile) for callback in trainer.callbacks)
    assert all(param.is_contiguous() for param in network.parameters())


@pytest.mark.parametrize(
    ("first_version", "layout"), [("2.0", torch.channels_last), slow_param("9.0", torch.contiguous_format)]
)
def test_defaults_of_an_m5_train(compose_cfg, monkeypatch, first_version, layout):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: "Apple M5 Pro")
    monkeypatch.setattr(apple_chip, "CHANNELS_LAST_TORCH", first_version)
    overrides = [item for item in make_mps_overrides("tiny_images") if not item.startswith("trainer.precision=")]
    network, data, trainer = build.build(compose_cfg(*overrides, "trainer.limit_train_batches=2", "callbacks=none"))
    before = {name: param.detach().cpu().clone() for name, param in network.named_parameters()}
    trainer.fit(network, data)

    assert trainer.precision == "bf16-mixed"
    assert network.network.block2[0].weight.is_contiguous(memory_format=layout)
    assert all(param.isfinite().all() for param in network.parameters())
    assert not any(torch.equal(before[name], param.cpu()) for name, param in network.named_parameters())


@pytest.mark.parametrize(("chip", "precision"), [("Apple M5 Max", "bf16-mixed"), ("Apple M6", "32-true")])
def test_header_has_chip_and_precision(compose_cfg, monkeypatch, capsys, chip, precision):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: chip)
    overrides = [item for item in make_mps_overrides("tiny_images") if not item.startswith("trainer.precision=")]
    train.main(compose_cfg(*overrides, "trainer.max_steps=1", "test=false", "callbacks=none"))

    assert f"mps:0, {chip}, precision {precision}\n" in capsys.readouterr().out


def test_batches_are_neither_pinned_nor_copied_asynchronously(compose_cfg):
    network, data, _ = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images"))))
    copies = []

    class RecordingTensor(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func.__name__ == "to":
                copies.append(kwargs or {})
            return super().__torch_function__(func, types, args, kwargs or {})

    network.transfer_batch_to_device(torch.ones(2).as_subclass(RecordingTensor), torch.device("mps"), 0)

    assert not data.train_dataloader().pin_memory
    assert copies
    assert not any(kwargs.get("non_blocking") for kwargs in copies)


def test_metrics_are_computed_on_cpu(compose_cfg):
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none"))
    before = stats.count_calls("scatter_add")
    trainer.validate(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert network.metrics_by_split["val"].confusion_matrix.device.type == "cpu"
    assert before == stats.count_calls("scatter_add")
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


def test_nondeterministic_operators_warn_by_default_and_raise_on_request(compose_cfg):
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none"))
    with pytest.warns(UserWarning, match="does not have a deterministic implementation"):
        trainer.fit(network, data)
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), "callbacks=none", "trainer.deterministic=true")
    )

    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        trainer.fit(network, data)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.precision=64-true", "MPS does not support float64, got trainer.precision=64-true. Use trainer"),
        ("trainer.devices=2", "MPS supports a single device, but trainer.devices=2"),
    ],
)
def test_unsupported_settings_raise_config_error(compose_cfg, override, message):
    with pytest.raises(ConfigError, match=message):
        build.build(compose_cfg(*make_mps_overrides(get_tiny_model("images")), override))


@pytest.mark.parametrize("size", [1, 32, 96, 225])
def test_any_image_size_trains(compose_cfg, size):
    overrides = [f"data.image_size={size}", "data.batch_size=2", "trainer.limit_train_batches=1", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_mps_overrides("tiny_images"), *overrides))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_text_batches_have_few_shapes(compose_cfg):
    overrides = [
        "data.max_length=64",
        "data.pad_to_multiple_of=16",
        "data.num_samples=64",
        "trainer.limit_train_batches=8",
    ]
    network, data, _trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("text")), *overrides, "callbacks=none")
    )
    # One text of each length.
    data.texts["train"] = ([" ".join(["word1"] * (1 + i)) for i in range(64)], [i % 2 for i in range(64)])
    data.set_tokenizer(network.tokenizer)
    shapes = {batch["inputs"]["input_ids"].shape for batch in data.train_dataloader()}

    assert {shape[1] for shape in shapes} <= {16, 32, 48, 64}


@pytest.mark.parametrize(("pad_to_multiple_of", "calls_per_epoch"), [(8, 1), (64, 0)])
def test_graph_cache_is_emptied_once_per_epoch_if_lengths_vary(
    compose_cfg, monkeypatch, pad_to_multiple_of, calls_per_epoch
):
    calls, empty_cache = [], torch.mps.empty_cache
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append(empty_cache()))
    overrides = [*make_mps_overrides(get_tiny_model("text")), "trainer.max_epochs=2", "callbacks=none"]
    overrides += ["data.max_length=64", f"data.pad_to_multiple_of={pad_to_multiple_of}"]
    network, data, trainer = build.build(compose_cfg(*overrides))
    # 16 texts of different lengths in 4 batches.
    data.texts["train"] = ([" ".join(["word1"] * (4 + 4 * i)) for i in range(16)], [i % 2 for i in range(16)])
    data.set_tokenizer(network.tokenizer)
    trainer.fit(network, data)

    assert trainer.current_epoch == 2
    assert len(calls) == 2 * calls_per_epoch
