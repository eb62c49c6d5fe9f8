"""A sweep that was typed again goes on with what is missing."""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight.run.record import acquire_run_lock
from firstlight.sweep import __main__ as sweep
from support.sweep_in_process import make_sweep_runner
from support.tiny_training import NO_PLOTS, make_command, make_faulty_overrides

TINY = ["model=tiny_images"]
FIRST = "sweep     2 jobs, "


@pytest.fixture
def typed(monkeypatch, tmp_path, capsys):
    return make_sweep_runner(monkeypatch, tmp_path, capsys)


def folders() -> list[Path]:
    return sorted(Path("logs/sweep").iterdir())


def jobs(folder: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*/run.json"))]


def rows(folder: Path) -> list[dict]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def stopped(typed, monkeypatch) -> tuple[int, str, list[str]]:
    """Sweep with a job that fails, one that is interrupted, and one that never begins; return also the words."""
    words = make_faulty_overrides([*NO_PLOTS, "trainer.max_epochs=1,3,2"])
    with monkeypatch.context() as broken:
        broken.setenv("FAULT", "epochs==1:no steps today;step==5:KeyboardInterrupt")
        return *typed(*words), words


def test_a_sweep_goes_on_with_what_failed_what_was_interrupted_and_what_never_began(stopped, typed):
    code, told, words = stopped
    (folder,) = folders()

    assert code != 0
    assert [job["status"] for job in jobs(folder)] == ["failed", "interrupted"]
    assert "next      the same command goes on with what is left, 3 of 3 jobs" in told.splitlines()

    code, told = typed(*words)

    assert code == 0
    assert told.startswith(f"sweep     goes on in {folder}, 0 of 3 jobs are finished (force=true starts over)\n")
    assert "what is left" not in told
    assert [folder] == folders()
    assert [(row["trainer.max_epochs"], row["status"]) for row in rows(folder)] == [
        ("1", "finished"),
        ("3", "finished"),
        ("2", "finished"),
    ]
    # The first had no checkpoint, the second had one.
    assert [len(job["attempts"]) for job in jobs(folder)] == [1, 2, 1]
    failed = folder / "0_trainer.max_epochs-1"
    assert json.loads((failed / "run.previous.json").read_text())["reason"] == "RuntimeError: no steps today"
    assert "no steps today" not in (failed / "output.log").read_text()
    cfg = OmegaConf.load(folder / "1_trainer.max_epochs-3" / "config.yaml")
    assert (folder.name, "trainer.max_epochs=3") == (cfg.group, cfg.name)


def test_other_words_are_another_sweep_and_force_starts_over(typed, monkeypatch):
    monkeypatch.setattr(sweep.train, "main", lambda: None)  # no job runs: all sweeps stay unfinished
    assert typed(*TINY, "seed=0,1")[1].startswith(FIRST)
    (folder,) = folders()

    assert typed(*TINY, "seed=0,1")[1].startswith(f"sweep     goes on in {folder}, 0 of 2 jobs")
    assert typed(*TINY, "seed=0,1", "force=false")[1].startswith(f"sweep     goes on in {folder}, 0 of 2 jobs")
    assert typed(*TINY, "seed=0,2")[1].startswith(FIRST)
    assert typed(*TINY, "test=false", "seed=0,1")[1].startswith(FIRST)
    assert typed(*TINY, "seed=0,1", "test=false")[1].startswith(FIRST)
    assert typed(*TINY, "force=true", "seed=0,1")[1].startswith(FIRST)
    assert len(folders()) == 5


def test_a_sweep_that_runs_is_left_alone(typed, monkeypatch):
    monkeypatch.setattr(sweep.train, "main", lambda: None)
    typed(*TINY, "seed=0,1")
    (folder,) = folders()
    with acquire_run_lock(folder):
        code, told = typed(*TINY, "seed=0,1")

    assert code == 1
    assert f"train: {folder} is in use by another process" in told


def test_force_is_true_or_false(typed):
    assert typed(*TINY, "seed=0,1", "force=yes") == (
        1,
        "train: force is true or false, but it is 'yes': type force=true to start the sweep over\n",
    )


ASKED = {"overrides": ["seed=0,1"], "jobs": [["seed=0"], ["seed=1"]]}


def left(parent: Path, name: str, *statuses: str) -> Path:
    """Return the folder of a sweep with one job of each status."""
    for number, status in enumerate(statuses):
        folder = parent / name / f"{number}_seed-{number}"
        folder.mkdir(parents=True)
        # A kill in a job's first moment leaves an empty file.
        (folder / "run.json").write_text(status and json.dumps({"status": status}))
    (parent / name / "sweep.json").write_text(json.dumps(ASKED))
    return parent / name


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", ""])
def test_a_sweep_with_a_job_that_has_not_finished_goes_on(tmp_path, status):
    folder = left(tmp_path, "2026-11-20_10-00-00", "finished", status)

    assert folder == sweep.find_unfinished_sweep(tmp_path, ASKED)
    assert sweep.find_unfinished_sweep(tmp_path, {**ASKED, "jobs": [["seed=0"]]}) is None


def test_a_finished_sweep_starts_anew_whatever_the_earlier_ones_lack(tmp_path):
    left(tmp_path, "2026-11-20_10-00-00_2", "finished", "failed")
    left(tmp_path, "2026-11-20_10-00-00_10", "finished", "finished")

    assert sweep.find_unfinished_sweep(tmp_path, ASKED) is None


@pytest.mark.slow
def test_a_killed_sweep_ends_as_if_it_had_not_been_killed(tmp_path):
    words = make_command("sweep", *NO_PLOTS, "trainer.max_epochs=1,3,2")

    def start(name: str, **variables: str) -> subprocess.Popen:
        (tmp_path / name).mkdir(exist_ok=True)
        environment = {**os.environ, **variables}
        return subprocess.Popen(words, cwd=tmp_path / name, env=environment)

    # 4 steps an epoch: the first job ends before, the second is in its second epoch.
    undisturbed, killed = start("undisturbed"), start("killed", FAULT="step==6:SIGKILL")

    assert [undisturbed.wait(), killed.wait()] == [0, -signal.SIGKILL]
    (folder,) = (tmp_path / "killed" / "logs" / "sweep").iterdir()
    assert [job["status"] for job in jobs(folder)] == ["finished", "running"]
    first = (folder / "0_trainer.max_epochs-1" / "run.json").read_bytes()

    assert start("killed").wait() == 0
    (other,) = (tmp_path / "undisturbed" / "logs" / "sweep").iterdir()
    assert first == (folder / "0_trainer.max_epochs-1" / "run.json").read_bytes()
    assert [len(job["attempts"]) for job in jobs(folder)] == [1, 2, 1]
    assert [row["status"] for row in rows(folder)] == ["finished"] * 3
    assert metrics(other) == metrics(folder)


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of each job, without its speed."""
    own = [job["metrics"].items() for job in jobs(folder)]
    return [{name: value for name, value in each if not name.startswith("speed/")} for each in own]
