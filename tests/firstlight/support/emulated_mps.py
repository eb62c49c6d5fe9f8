"""Checks of runs on the emulated MPS device, and a runner for test files that need this device."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    """Return the overrides of the smallest training run of a model on the emulated device."""
    return [override for override in make_tiny_overrides(model) if override != "trainer=cpu"] + ["trainer=mps"]


def slow_param(*values: Any) -> object:
    """Return a parameter set that .ci/run tests and `make test` skips."""
    return pytest.param(*values, marks=pytest.mark.slow)


def select_slow_files(files: list[Path]) -> list[Path]:
    """Return the files that contain slow tests."""
    return [file for file in files if re.search("slow_param|mark.slow", file.read_text())]


def run_in_emulator(files: list[Path], marker: str, directory: Path, functions: str = "test_*") -> None:
    """Run test files in a process whose torch has an "mps" device.

    Args:
        files: Test files.
        marker: Marker expression of pytest, such as "not slow".
        directory: Parent of the temporary directories.
        functions: Name pattern of the test functions.
    """
    if reason := emulator.get_skip_reason():
        pytest.skip(reason)
    args = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-m", marker, f"--basetemp={directory / 'tests'}"]
    args += ["-o", f"python_functions={functions}"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *args, *map(str, files)],
        env=emulator.make_environment(),
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stdout + process.stderr


def check_all_commands(model: str, precision: str, parent: Path) -> None:
    """Train, evaluate, predict and resume on the emulated device."""
    run_dir = parent / "run"
    overrides = [
        *make_mps_overrides(model),
        f"trainer.precision={precision}",
        "trainer.max_epochs=2",
        f"output_dir={run_dir}",
    ]
    metrics = train.main(compose_config("train", overrides))["metrics"]
    record = json.loads((run_dir / "run.json").read_text())
    evaluated = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]
    cpu_overrides = [f"run={run_dir}", "trainer=cpu", "trainer.precision=32-true"]
    on_cpu = evaluate.main(compose_config("evaluate", cpu_overrides))["metrics"]
    (parent / "inputs").mkdir()
    inputs = make_inputs(model, parent / "inputs")
    overrides = [f"run={run_dir}", f"input={inputs}", f"output={parent / 'predictions.csv'}"]
    num_predictions = predict.main(compose_config("predict", overrides))["num_predictions"]
    resumed = train.main(compose_config("train", [f"resume={run_dir}", "trainer.max_epochs=3"]))["metrics"]
    with (run_dir / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]

    assert ("mps:0", precision) == (record["device"], record["precision"])
    assert {name: metrics[name] for name in evaluated} == evaluated
    # Half precision on one side only: as close as its rounding allows.
    assert on_cpu["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-5 if precision == "32-true" else 0.1)
    assert num_predictions == 2
    assert steps == [3, 7, 11]
    assert torch.tensor(resumed["test/loss"]).isfinite()
    assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


def check_training(model: str, precision: str, run_dir: Path) -> None:
    """Train and test in a precision."""
    overrides = [
        *make_mps_overrides(model),
        f"trainer.precision={precision}",
        "callbacks=none",
        f"output_dir={run_dir}",
    ]
    network, data, trainer = build.build(compose_config("train", overrides))
    trainer.fit(network, data)
    (metrics,) = trainer.test(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert trainer.precision == precision
    assert torch.tensor(metrics["test/loss"]).isfinite()


def check_weights_match_cpu(model: str, parent: Path) -> None:
    """Compare the weights after a run on the emulated device with the weights after a run on the CPU."""
    # No dropout, because MPS and CPU, real or emulated, generate different random numbers.
    no_dropout = ["model.dropout=0.0"] if has_key(model, "dropout") else []
    weights = []
    for option in ("cpu", "mps"):
        overrides = [
            *make_mps_overrides(model),
            f"trainer={option}",
            *no_dropout,
            "test=false",
            "callbacks=none",
            "scheduler=constant",
        ]
        # AdamW would amplify the rounding errors of gradients that are 0, such as the gradients of biases before
        # BatchNorm.
        overrides += ["optimizer=sgd", "optimizer.lr=0.01"]
        overrides += ["trainer.deterministic=null", "trainer.channels_last=false", f"output_dir={parent / option}"]
        network, data, trainer = build.build(compose_config("train", overrides))
        # Devices draw other random numbers. Not every model has a key for its dropout.
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer.fit(network, data)
        weights.append({name: value.cpu() for name, value in network.network.state_dict().items()})

    # Four SGD steps. Fused updates and the backward pass of linear layers add in another order.
    for name, expected in weights[0].items():
        torch.testing.assert_close(
            expected, weights[1][name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n} {text}"
        )


def check_memory_estimate(model: str, overrides: list[str], run_dir: Path) -> None:
    """Compare the estimated memory with the memory that the emulated device allocates."""
    stats = emulator.EmulatorStats()
    overrides = [*make_mps_overrides(model), *overrides, "callbacks=none", "logger=none", f"output_dir={run_dir}"]
    network, data, trainer = build.build(compose_config("train", overrides))
    report = dry_run(network, data, trainer, trainer.precision, deterministic=False)
    before = stats.get_allocated_bytes()
    stats.reset_peak()
    trainer.fit(network, data)

    assert not report.format_messages("error")
    estimate = report.memory_estimate.get_peak_bytes(data.batch_size)
    assert estimate == pytest.approx(stats.get_peak_bytes() - before, rel=0.05)
