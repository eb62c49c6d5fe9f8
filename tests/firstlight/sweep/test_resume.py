"""Running the same sweep command again resumes the sweep."""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight.run.lock import acquire_run_lock
from firstlight.sweep import __main__ as sweep
from support.sweep_in_process import make_sweep_runner
from support.tiny_training import NO_PLOTS, make_command, make_faulty_overrides

MODEL = ["model=tiny_images"]
NEW_SWEEP = "sweep     2 jobs, "


@pytest.fixture
def run_sweep(monkeypatch, tmp_path, capsys):
    return make_sweep_runner(monkeypatch, tmp_path, capsys)


def list_sweep_dirs() -> list[Path]:
    return sorted(Path("logs/sweep").iterdir())


def read_records(sweep_dir: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(sweep_dir.glob("*/run.json"))]


def read_results(sweep_dir: Path) -> list[dict]:
    with (sweep_dir / "results.csv").open() as file:
        return list(csv.DictReader(file))


def read_metrics(sweep_dir: Path) -> list[dict[str, float]]:
    """Return the metrics of each job without its throughput."""
    metrics = [record["metrics"].items() for record in read_records(sweep_dir)]
    return [{name: value for name, value in items if not name.startswith("speed/")} for items in metrics]


@pytest.fixture
def interrupted_sweep(run_sweep, monkeypatch) -> tuple[int, str, list[str]]:
    """Run a sweep with a failed, an interrupted and a pending job; return its exit code, output and overrides."""
    overrides = make_faulty_overrides([*NO_PLOTS, "trainer.max_epochs=1,3,2"])
    with monkeypatch.context() as faults:
        faults.setenv("FAULT", "epochs==1:no steps today;step==5:KeyboardInterrupt")
        return *run_sweep(*overrides), overrides


@pytest.mark.slow
def test_sweep_resumes_failed_interrupted_and_pending_jobs(interrupted_sweep, run_sweep):
    code, output, overrides = interrupted_sweep
    (sweep_dir,) = list_sweep_dirs()

    assert code != 0
    assert [record["status"] for record in read_records(sweep_dir)] == ["failed", "interrupted"]
    assert "3 of 3 jobs remaining. Run the same command again to continue." in output.splitlines()

    code, output = run_sweep(*overrides)

    assert code == 0
    assert output.startswith(f"Resuming sweep {sweep_dir}: 0 of 3 jobs finished (pass force=true to start over).\n")
    assert "jobs remaining" not in output
    assert [sweep_dir] == list_sweep_dirs()
    assert [(row["trainer.max_epochs"], row["status"]) for row in read_results(sweep_dir)] == [
        ("1", "finished"),
        ("3", "finished"),
        ("2", "finished"),
    ]
    # The first job had no checkpoint, the second one had a checkpoint.
    assert [len(record["attempts"]) for record in read_records(sweep_dir)] == [1, 2, 1]
    failed = sweep_dir / "0_trainer.max_epochs-1"
    assert json.loads((failed / "run.previous.json").read_text())["reason"] == "RuntimeError: no steps today"
    assert "no steps today" not in (failed / "output.log").read_text()
    cfg = OmegaConf.load(sweep_dir / "1_trainer.max_epochs-3" / "config.yaml")
    assert (sweep_dir.name, "trainer.max_epochs=3") == (cfg.group, cfg.name)


def test_other_overrides_or_force_start_a_new_sweep(run_sweep, monkeypatch):
    monkeypatch.setattr(sweep.train, "main", lambda: None)  # No job runs: all sweeps stay unfinished.
    assert run_sweep(*MODEL, "seed=0,1")[1].startswith(NEW_SWEEP)
    (sweep_dir,) = list_sweep_dirs()
    resumed = f"Resuming sweep {sweep_dir}: 0 of 2 jobs finished"

    assert run_sweep(*MODEL, "seed=0,1")[1].startswith(resumed)
    assert run_sweep(*MODEL, "seed=0,1", "force=false")[1].startswith(resumed)
    assert run_sweep(*MODEL, "seed=0,2")[1].startswith(NEW_SWEEP)
    assert run_sweep(*MODEL, "test=false", "seed=0,1")[1].startswith(NEW_SWEEP)
    assert run_sweep(*MODEL, "seed=0,1", "test=false")[1].startswith(NEW_SWEEP)
    assert run_sweep(*MODEL, "force=true", "seed=0,1")[1].startswith(NEW_SWEEP)
    assert len(list_sweep_dirs()) == 5


def test_running_sweep_is_locked(run_sweep, monkeypatch):
    monkeypatch.setattr(sweep.train, "main", lambda: None)
    run_sweep(*MODEL, "seed=0,1")
    (sweep_dir,) = list_sweep_dirs()
    with acquire_run_lock(sweep_dir):
        code, output = run_sweep(*MODEL, "seed=0,1")

    assert code == 1
    assert f"train: {sweep_dir} is locked by another process." in output


def test_invalid_force_value_is_rejected(run_sweep):
    assert run_sweep(*MODEL, "seed=0,1", "force=yes") == (
        2,
        "train: Invalid value for force: expected true or false, got 'yes'. Use force=true to start the sweep over.\n",
    )


DEFINITION = {"overrides": ["seed=0,1"], "jobs": [["seed=0"], ["seed=1"]]}


def write_sweep(parent: Path, name: str, *statuses: str) -> Path:
    """Write the directory of a sweep with one job for each status, and return its path."""
    for number, status in enumerate(statuses):
        run_dir = parent / name / f"{number}_seed-{number}"
        run_dir.mkdir(parents=True)
        # A job that is killed right after its start leaves an empty file.
        (run_dir / "run.json").write_text(status and json.dumps({"status": status}))
    (parent / name / "sweep.json").write_text(json.dumps(DEFINITION))
    return parent / name


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", ""])
def test_sweep_with_unfinished_job_is_found(tmp_path, status):
    sweep_dir = write_sweep(tmp_path, "2026-11-20_10-00-00", "finished", status)

    assert sweep_dir == sweep.find_unfinished_sweep(tmp_path, DEFINITION)
    assert sweep.find_unfinished_sweep(tmp_path, {**DEFINITION, "jobs": [["seed=0"]]}) is None


def test_earlier_unfinished_sweep_is_ignored_if_latest_is_finished(tmp_path):
    write_sweep(tmp_path, "2026-11-20_10-00-00_2", "finished", "failed")
    write_sweep(tmp_path, "2026-11-20_10-00-00_10", "finished", "finished")

    assert sweep.find_unfinished_sweep(tmp_path, DEFINITION) is None


@pytest.mark.slow
def test_killed_sweep_resumes_with_identical_results(tmp_path):
    command = make_command("sweep", *NO_PLOTS, "trainer.max_epochs=1,3,2")

    def start_sweep(name: str, **variables: str) -> subprocess.Popen:
        (tmp_path / name).mkdir(exist_ok=True)
        return subprocess.Popen(command, cwd=tmp_path / name, env={**os.environ, **variables})

    # With 4 steps per epoch, the first job ends before step 6, and the second one is in its second epoch.
    undisturbed, killed = start_sweep("undisturbed"), start_sweep("killed", FAULT="step==6:SIGKILL")

    assert [undisturbed.wait(), killed.wait()] == [0, -signal.SIGKILL]
    (sweep_dir,) = (tmp_path / "killed" / "logs" / "sweep").iterdir()
    assert [record["status"] for record in read_records(sweep_dir)] == ["finished", "running"]
    first_record = (sweep_dir / "0_trainer.max_epochs-1" / "run.json").read_bytes()

    assert start_sweep("killed").wait() == 0
    (undisturbed_dir,) = (tmp_path / "undisturbed" / "logs" / "sweep").iterdir()
    assert first_record == (sweep_dir / "0_trainer.max_epochs-1" / "run.json").read_bytes()
    assert [len(record["attempts"]) for record in read_records(sweep_dir)] == [1, 2, 1]
    assert [row["status"] for row in read_results(sweep_dir)] == ["finished"] * 3
    assert read_metrics(undisturbed_dir) == read_metrics(sweep_dir)
