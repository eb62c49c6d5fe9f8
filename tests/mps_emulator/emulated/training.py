"""What trainer=mps does, by the real Lightning accelerator on the emulated device."""

import csv
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import names, takes, tiny
from lightning.pytorch.accelerators import MPSAccelerator

from firstlight import evaluate, predict, run, train
from firstlight.callbacks.compile import Compile
from firstlight.compose import composed as composed_from
from firstlight.mps.dry_run import dry_run

sys.path.insert(0, str(Path(__file__).parents[1]))
from emulator import Seen

MODELS = names("model")
PRECISIONS = ["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
seen = Seen()


def on_mps(model: str) -> list[str]:
    return [word for word in tiny(model) if word != "trainer=cpu"] + ["trainer=mps"]


def inputs_for(model: str, folder: Path) -> Path:
    folder.mkdir()
    if model == "bert":
        (folder / "in.csv").write_text("text\nword1 word2 class0\nclass1 class1\n")
        return folder / "in.csv"
    from PIL import Image

    for index in range(2):
        Image.new("RGB", (40, 50), (index * 200, 30, 60)).save(folder / f"{index}.png")
    return folder


def in_full(*values: str) -> object:
    """Return a case that .ci/run tries, and `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


WAYS = [(model, precision) for model in MODELS for precision in PRECISIONS]


@pytest.mark.parametrize(("model", "precision"), [way if way == ("bert", "32-true") else in_full(*way) for way in WAYS])
def test_the_whole_way_runs_on_mps(model, precision, tmp_path):
    folder = tmp_path / "run"
    words = [*on_mps(model), f"trainer.precision={precision}", "trainer.max_epochs=2", f"output_dir={folder}"]
    metrics = train.main(composed_from("train", words))
    record = json.loads((folder / "run.json").read_text())
    again = evaluate.main(composed_from("evaluate", [f"run={folder}"]))
    on_cpu = evaluate.main(composed_from("evaluate", [f"run={folder}", "trainer=cpu", "trainer.precision=32-true"]))
    words = [
        f"run={folder}",
        f"input={inputs_for(model, tmp_path / 'inputs')}",
        f"output={tmp_path / 'predictions.csv'}",
    ]
    predicted = predict.main(composed_from("predict", words))
    resumed = train.main(composed_from("train", [f"resume={folder}", "trainer.max_epochs=3"]))
    with (folder / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]

    assert ("mps:0", precision) == (record["device"], record["precision"])
    assert {name: metrics[name] for name in again} == again
    # Half precision on one side only: as close as its rounding.
    assert on_cpu["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-5 if precision == "32-true" else 0.1)
    assert predicted == 2
    assert steps == [3, 7, 11]
    assert torch.tensor(resumed["test/loss"]).isfinite()
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("model", [each if each == "vgg16" else in_full(each) for each in MODELS])
def test_the_weights_are_those_of_a_training_on_the_cpu(model, tmp_path):
    # A Mac draws other random numbers than the CPU, and so does the emulator: no dropout here.
    calm = ["model.dropout=0.0"] if takes(model, "dropout") else []
    weights = []
    for trainer in ("cpu", "mps"):
        words = [*on_mps(model), f"trainer={trainer}", *calm, "test=false", "callbacks=none", "scheduler=constant"]
        # AdamW would blow up the rounding errors of gradients that are 0, such as those of biases before a batch norm.
        words += ["optimizer=sgd", "optimizer.lr=0.01"]
        words += ["trainer.deterministic=null", "trainer.channels_last=false", f"output_dir={tmp_path / trainer}"]
        network, data, fit = run.build(composed_from("train", words))
        fit.fit(network, data)
        weights.append({name: value.cpu() for name, value in network.network.state_dict().items()})

    # Four steps of SGD. Some kernels add in another order: fused updates, the backward pass of linear layers.
    for name, expected in weights[0].items():
        torch.testing.assert_close(
            expected, weights[1][name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n} {text}"
        )


@pytest.mark.slow
def test_a_training_moves_between_devices(tmp_path):
    words = [*on_mps("vgg16"), "trainer=cpu", f"output_dir={tmp_path / 'run'}"]
    train.main(composed_from("train", words))
    before = seen.count("_fused_adamw_")
    train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=mps", "trainer.max_epochs=2"]))
    fused = seen.count("_fused_adamw_") - before
    metrics = train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=cpu", "trainer.max_epochs=3"]))

    assert fused > 0
    assert torch.tensor(metrics["test/loss"]).isfinite()


def test_lightnings_own_accelerator_is_the_automatic_choice(composed):
    _, _, trainer = run.build(composed(*on_mps("vgg16"), "trainer=auto", "callbacks=none"))

    assert isinstance(trainer.accelerator, MPSAccelerator)
    assert (torch.device("mps", 0), "32-true", 1) == (
        trainer.strategy.root_device,
        trainer.precision,
        trainer.num_devices,
    )


# ---------------------------------------------------------------- each setting of configs/trainer/mps.yaml


@pytest.mark.parametrize(("optimizer", "operator"), [("adamw", "_fused_adamw_"), in_full("sgd", "_fused_sgd_")])
@pytest.mark.parametrize("precision", [PRECISIONS[0], *map(in_full, PRECISIONS[1:])])
def test_optimizers_are_fused_and_clip_in_every_precision(composed, optimizer, operator, precision):
    before = seen.count(operator)
    words = [f"optimizer={optimizer}", f"trainer.precision={precision}", "trainer.gradient_clip_val=0.01"]
    network, data, trainer = run.build(composed(*on_mps("vgg16"), *words, "callbacks=none", "logger=none"))
    trainer.fit(network, data)

    # 16-mixed may leave out a first step whose gradients overflow.
    assert seen.count(operator) >= before + (2 if precision == "16-mixed" else 4)
    assert all(each.isfinite().all() for each in network.parameters())


@pytest.mark.parametrize("optimizer", ["Adagrad", in_full("RMSprop"), in_full("NAdam")])
def test_an_optimizer_without_a_fused_kernel_of_mps_steps_as_it_can(composed, optimizer):
    # Adagrad takes fused=True, but has no such kernel on MPS.
    words = [f"optimizer._target_=torch.optim.{optimizer}", "trainer.limit_train_batches=1", "callbacks=none"]
    network, data, trainer = run.build(composed(*on_mps("vgg16"), *words))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_a_fused_kernel_that_mps_lacks_is_told_beforehand(composed):
    words = ["optimizer._target_=torch.optim.Adagrad", "+optimizer.fused=true", "callbacks=none"]
    report = dry_run(*run.build(composed(*on_mps("vgg16"), *words)), "32-true", deterministic=False)

    assert report.texts("fault") == ["aten::_fused_adagrad_ has no MPS kernel: set optimizer.fused=false"]


@pytest.mark.slow
def test_a_resumed_training_keeps_the_users_choice_of_kernels(tmp_path):
    words = [*on_mps("vgg16"), "+optimizer.fused=false", "test=false", f"output_dir={tmp_path / 'run'}"]
    train.main(composed_from("train", words))
    train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"]))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)

    assert saved["epoch"] == 1
    assert {group["fused"] for group in saved["optimizer_states"][0]["param_groups"]} <= {None, False}


def test_clipping_under_loss_scaling_clips_the_true_gradients(composed):
    words = ["trainer.precision=16-mixed", "trainer.gradient_clip_val=0.5", "callbacks=none", "optimizer=sgd"]
    network, data, trainer = run.build(composed(*on_mps("vgg16"), *words))
    norms = []
    network.on_before_zero_grad = lambda optimizer: norms.append(
        [each.grad.float().norm().item() for each in network.parameters() if each.grad is not None]
    )
    trainer.fit(network, data)
    total = [sum(each**2 for each in norm) ** 0.5 for norm in norms if norm]

    assert total
    assert all(each <= 0.5 * 1.01 for each in total if each == each and each != float("inf"))


def test_a_network_keeps_its_memory_format(composed):
    network, _, trainer = run.build(composed(*on_mps("resnet50")))

    assert not trainer.channels_last
    assert not any(isinstance(each, Compile) for each in trainer.callbacks)
    assert all(each.is_contiguous() for each in network.parameters())


def test_batches_are_neither_pinned_nor_copied_behind_the_programs_back(composed):
    network, data, _ = run.build(composed(*on_mps("vgg16")))
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


def test_metrics_are_counted_on_the_cpu(composed):
    network, data, trainer = run.build(composed(*on_mps("resnet50"), "callbacks=none"))
    before = seen.count("scatter_add")
    trainer.validate(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert network.val_scores.confusion.device.type == "cpu"
    assert before == seen.count("scatter_add")
    assert 0 <= trainer.callback_metrics["val/accuracy"] <= 1


def test_varying_operators_are_allowed_by_default_and_refused_on_request(composed):
    network, data, trainer = run.build(composed(*on_mps("vgg16"), "callbacks=none"))
    with pytest.warns(UserWarning, match="does not have a deterministic implementation"):
        trainer.fit(network, data)
    network, data, trainer = run.build(composed(*on_mps("vgg16"), "callbacks=none", "trainer.deterministic=true"))

    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        trainer.fit(network, data)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.precision=64-true", "An Apple GPU has no 64-bit floats, but trainer.precision=64-true: give trainer"),
        ("trainer.devices=2", "A Mac has one GPU, but trainer.devices=2"),
    ],
)
def test_what_mps_has_not_is_refused_at_once(composed, word, sentence):
    with pytest.raises(ValueError, match=sentence):
        run.build(composed(*on_mps("vgg16"), word))


@pytest.mark.parametrize("size", ["32", in_full("96"), in_full("160"), in_full("224")])
@pytest.mark.parametrize("head", ["small", in_full("stock")])
def test_vgg16_trains_at_any_size(composed, size, head):
    words = [f"data.image_size={size}", f"model.head={head}", "data.batch_size=2", "trainer.limit_train_batches=1"]
    network, data, trainer = run.build(composed(*on_mps("vgg16"), *words, "callbacks=none", "optimizer=sgd"))
    trainer.fit(network, data)

    assert trainer.global_step == 1


def test_texts_come_in_few_shapes(composed):
    words = ["data.max_length=64", "data.pad_to=16", "data.num_samples=64", "trainer.limit_train_batches=8"]
    network, data, _trainer = run.build(composed(*on_mps("bert"), *words, "callbacks=none"))
    # Texts of every length up to the longest.
    data.texts["train"] = ([" ".join(["word1"] * (1 + i)) for i in range(64)], [i % 2 for i in range(64)])
    data.connect(network.tokenizer)
    shapes = {batch["inputs"]["input_ids"].shape for batch in data.train_dataloader()}

    assert {shape[1] for shape in shapes} <= {16, 32, 48, 64}


# ---------------------------------------------------------------- what is told beforehand


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("bert", ["model.freeze_layers=0"]),
        pytest.param("bert", ["trainer.precision=bf16-mixed"], marks=pytest.mark.slow),
        pytest.param("resnet50", ["data.image_size=96"], marks=pytest.mark.slow),
        pytest.param("resnet50", ["data.image_size=96", "trainer.precision=bf16-mixed"], marks=pytest.mark.slow),
        pytest.param("resnet50", ["data.image_size=96", "trainer.precision=16-mixed"], marks=pytest.mark.slow),
        pytest.param("vgg16", ["data.image_size=96", "model.batch_norm=false"], marks=pytest.mark.slow),
        pytest.param("vgg16", ["data.image_size=64", "trainer.precision=bf16-true"], marks=pytest.mark.slow),
        pytest.param("vgg16", ["optimizer=sgd", "trainer.gradient_clip_val=null"], marks=pytest.mark.slow),
    ],
)
def test_the_estimated_memory_is_what_the_device_allocates(composed, model, words):
    network, data, trainer = run.build(composed(*on_mps(model), *words, "callbacks=none", "logger=none"))
    report = dry_run(network, data, trainer, trainer.precision, deterministic=False)
    before = seen.live()
    seen.reset_peak()
    trainer.fit(network, data)

    assert not report.texts("fault")
    assert report.need.at(data.batch_size) == pytest.approx(seen.peak() - before, rel=0.05)


def test_a_training_tells_beforehand_what_it_takes(tmp_path, capsys):
    train.main(composed_from("train", [*on_mps("vgg16"), "callbacks=none", f"output_dir={tmp_path / 'run'}"]))

    assert "mps       no fault found beforehand, training needs about 0.2 of 72.0 GiB" in capsys.readouterr().out


def test_a_fault_stops_a_training_before_its_first_step(tmp_path):
    words = [*on_mps("vgg16"), "trainer.deterministic=true", f"output_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="This training would fail on MPS: .*deterministic=true refuses it"):
        train.main(composed_from("train", words))

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


# ---------------------------------------------------------------- commands, as a user types them


def command(*words: str, gib: float | None = None, **more: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **more, **({"MPS_EMULATOR_GIB": str(gib)} if gib else {})}
    return subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "reason"),
    [
        # Refused by the check before the first step, from arithmetic.
        ({}, "out of memory beforehand: data.batch_size=128 needs about"),
        # The check cannot know what other programs take, so the device itself runs out.
        ({"MPS_EMULATOR_OTHER_GIB": "0.6"}, "out of memory with data.batch_size=128: try data.batch_size=64"),
    ],
)
def test_a_batch_that_is_too_big_is_a_row_and_the_other_jobs_finish(tmp_path, monkeypatch, other, reason):
    monkeypatch.chdir(tmp_path)
    # VGG16 with its optimizer takes 0.22 GiB, and 4.6 MiB a sample.
    done = command(
        "firstlight.sweep",
        *(word for word in on_mps("vgg16") if not word.startswith("data.")),
        "data=fake_images",
        "data.num_samples=256",
        "data.num_classes=2",
        "data.batch_size=2,128,4",
        "trainer.limit_train_batches=2",
        gib=1.0 if other else 0.4,
        **other,
    )
    with next(tmp_path.rglob("results.csv")).open() as file:
        rows = list(csv.DictReader(file))

    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"], done.stdout + done.stderr
    assert rows[1]["reason"].startswith(reason)


@pytest.mark.slow
def test_the_memory_limit_is_set_before_torch_is_imported(tmp_path):
    # Torch's own limit is 1.7 times what the system recommends: only with the command's 1.0 this is refused.
    words = [*on_mps("vgg16"), "data.batch_size=16", "callbacks=none", f"output_dir={tmp_path / 'run'}"]
    usual = command("firstlight.train", *words, gib=0.3, MPS_EMULATOR_OTHER_GIB="0.1")
    more = {"MPS_EMULATOR_OTHER_GIB": "0.1", "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.3"}
    lent = command("firstlight.train", *words, gib=0.3, **more)

    assert (usual.returncode, lent.returncode) == (1, 0), usual.stdout + lent.stderr
    assert "max allowed: 307.20 MiB" in usual.stderr


@pytest.mark.slow
def test_data_sets_read_by_spawned_workers_feed_mps(composed):
    network, data, trainer = run.build(composed(*on_mps("vgg16"), "data.num_workers=1", "callbacks=none"))
    loader = data.train_dataloader()
    loader.multiprocessing_context = multiprocessing.get_context("spawn")
    data.train_dataloader = lambda: loader
    trainer.fit(network, data)

    assert trainer.global_step == 4
