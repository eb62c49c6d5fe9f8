"""Plain Lightning projects in other processes: several ranks, sweeps, benchmark, report page and emulated MPS."""

import subprocess
import sys

import pytest

from firstlight import train
from firstlight.benchmark import __main__ as benchmark
from firstlight.config.compose import compose_config
from firstlight.report import __main__ as report
from firstlight.run.files import read_json_or_empty
from support.plain_projects import (
    PROJECTS,
    make_overrides,
)

QUICK = ("autoencoder", "gan", "segmentation")
ON_MPS = (*QUICK, "detector")
# The phases that a project supports; the plain loop of manual optimization is unknown.
BOTH_LOOPS = {(phase, loop) for phase in ("train", "eval") for loop in ("trainer", "plain")}
MEASURED = {
    "autoencoder": BOTH_LOOPS | {("predict", "trainer"), ("predict", "plain")},
    "gan": {("train", "trainer")},
    "segmentation": BOTH_LOOPS,
}
SLOW, EXHAUSTIVE = pytest.mark.slow, pytest.mark.exhaustive


@pytest.mark.slow
def test_report_page_lists_the_metrics_of_each_project(tmp_path):
    for name in PROJECTS:
        overrides = [*make_overrides(name), "logger=none", f"output_dir={tmp_path / 'logs' / name}"]
        train.main(compose_config("train", overrides))
    page = tmp_path / "report.html"
    report.main(compose_config("report", [f"runs={tmp_path / 'logs'}", f"output={page}", "open_browser=false"]))
    text = page.read_text()

    for metric in ("val_loss", "g_loss", "val/iou", "valMAE", "val_acc/dataloader_idx_1", "val/box_error", "accuracy"):
        assert metric in text


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name in QUICK else EXHAUSTIVE) for name in PROJECTS])
def test_two_ranks_train_and_test(name, tmp_path):
    overrides = [*make_overrides(name), "logger=none", "output_dir=run"]
    overrides += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    overrides.remove("trainer=cpu")
    command = [sys.executable, "-m", "firstlight.train", *overrides]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    assert process.returncode == 0, process.stdout + process.stderr
    assert read_json_or_empty(tmp_path / "run" / "run.json")["status"] == "finished"
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW if name in QUICK else EXHAUSTIVE) for name in PROJECTS])
def test_sweep_of_two_jobs(name, tmp_path):
    command = [sys.executable, "-m", "firstlight.sweep", *make_overrides(name), "seed=0,1", "logger=none"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    assert process.returncode == 0, process.stdout + process.stderr
    assert len(list((tmp_path / "logs" / "sweep").glob("*/*/run.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_benchmark_measures_the_trainer(name, tmp_path):
    overrides = [f"model=plain_{name}", "accelerators=[cpu]", "min_seconds=0.01", "repeats=1", "logger=none"]
    results = benchmark.main(compose_config("benchmark", [*overrides, f"output_dir={tmp_path / 'out'}"]))

    assert {(result["phase"], result["loop"]) for result in results["results"]} == MEASURED[name]
    assert all(result["samples_per_s"] > 0 for result in results["results"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW if name in ON_MPS else EXHAUSTIVE) for name in PROJECTS]
)
def test_project_trains_on_emulated_mps(name, tmp_path):
    from mps_emulator import emulator

    if reason := emulator.get_skip_reason():
        pytest.skip(reason)
    overrides = [*make_overrides(name), "logger=none", "output_dir=run"]
    overrides[overrides.index("trainer=cpu")] = "trainer=mps"
    command = [sys.executable, "-m", "firstlight.train", *overrides]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=emulator.make_environment())

    assert "precision 32-true" in process.stdout
    if name == "detector":
        assert "input sizes must be divisible by output sizes" in process.stderr  # as on a Mac
    else:
        assert process.returncode == 0, process.stdout + process.stderr
