"""Trainings on an emulated MPS device, and test files that run where torch has it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from firstlight import build, evaluate, predict, train
from firstlight.config.compose import compose_config
from firstlight.mps.dry_run import dry_run
from mps_emulator import emulator
from support.every_command import make_inputs
from support.options import has_key, make_tiny_overrides

PRECISIONS = ["32-true", "bf16-mixed", "16-mixed", "bf16-true"]
SLOW = [pytest.mark.slow, pytest.mark.timeout(1500)]


def make_mps_overrides(model: str) -> list[str]:
    """Return the words of the smallest training of a model on the emulated device."""
    return [word for word in make_tiny_overrides(model) if word != "trainer=cpu"] + ["trainer=mps"]


def slow_param(*values: str) -> object:
    """Return a case that .ci/run tries, and `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def select_slow_files(files: list[Path]) -> list[Path]:
    """Return the files that have slow tests."""
    return [file for file in files if re.search("in_full|mark.slow", file.read_text())]


def run_in_emulator(files: list[Path], marked: str, folder: Path, functions: str = "test_*") -> None:
    """Run test files in a process whose torch has an "mps" device."""
    if reason := emulator.why_not():
        pytest.skip(reason)
    words = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-m", marked, f"--basetemp={folder / 'tests'}"]
    words += ["-o", f"python_functions={functions}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *map(str, files)],
        env=emulator.environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def check_all_commands(model: str, precision: str, parent: Path) -> None:
    """Train, evaluate, predict and resume on the emulated device."""
    folder = parent / "run"
    words = [
        *make_mps_overrides(model),
        f"trainer.precision={precision}",
        "trainer.max_epochs=2",
        f"output_dir={folder}",
    ]
    metrics = train.main(compose_config("train", words))
    record = json.loads((folder / "run.json").read_text())
    again = evaluate.main(compose_config("evaluate", [f"run={folder}"]))
    on_cpu = evaluate.main(compose_config("evaluate", [f"run={folder}", "trainer=cpu", "trainer.precision=32-true"]))
    (parent / "inputs").mkdir()
    inputs = make_inputs(model, parent / "inputs")
    words = [f"run={folder}", f"input={inputs}", f"output={parent / 'predictions.csv'}"]
    predicted = predict.main(compose_config("predict", words))
    resumed = train.main(compose_config("train", [f"resume={folder}", "trainer.max_epochs=3"]))
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


def check_training(model: str, precision: str, folder: Path) -> None:
    """Train in a precision, and measure."""
    words = [*make_mps_overrides(model), f"trainer.precision={precision}", "callbacks=none", f"output_dir={folder}"]
    network, data, trainer = build.build(compose_config("train", words))
    trainer.fit(network, data)
    (figures,) = trainer.test(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert trainer.precision == precision
    assert torch.tensor(figures["test/loss"]).isfinite()


def check_weights_match_cpu(model: str, folder: Path) -> None:
    """Hold the weights after a training against those of one on the CPU."""
    # A Mac draws other random numbers than the CPU, and so does the emulator: no dropout here.
    calm = ["model.dropout=0.0"] if has_key(model, "dropout") else []
    weights = []
    for trainer in ("cpu", "mps"):
        words = [
            *make_mps_overrides(model),
            f"trainer={trainer}",
            *calm,
            "test=false",
            "callbacks=none",
            "scheduler=constant",
        ]
        # AdamW would blow up the rounding errors of gradients that are 0, such as those of biases before a batch norm.
        words += ["optimizer=sgd", "optimizer.lr=0.01"]
        words += ["trainer.deterministic=null", "trainer.channels_last=false", f"output_dir={folder / trainer}"]
        network, data, fit = build.build(compose_config("train", words))
        fit.fit(network, data)
        weights.append({name: value.cpu() for name, value in network.network.state_dict().items()})

    # Four steps of SGD. Some kernels add in another order: fused updates, the backward pass of linear layers.
    for name, expected in weights[0].items():
        torch.testing.assert_close(
            expected, weights[1][name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n} {text}"
        )


def check_memory_estimate(model: str, words: list[str], folder: Path) -> None:
    """Hold the memory that is told beforehand against what the emulated device allocates."""
    seen = emulator.Seen()
    words = [*make_mps_overrides(model), *words, "callbacks=none", "logger=none", f"output_dir={folder}"]
    network, data, trainer = build.build(compose_config("train", words))
    report = dry_run(network, data, trainer, trainer.precision, deterministic=False)
    before = seen.live()
    seen.reset_peak()
    trainer.fit(network, data)

    assert not report.format_messages("fault")
    assert report.memory_estimate.get_peak_bytes(data.batch_size) == pytest.approx(seen.peak() - before, rel=0.05)
