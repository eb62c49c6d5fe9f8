"""Optuna searches: they survive failed trials and interruptions, and print the best trials."""

import csv
import importlib.metadata
import json
import re
import signal
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from firstlight.config.schema import read_signature
from firstlight.run.errors import ConfigError, MissingPackageError
from firstlight.run.packages import is_installed
from firstlight.sweep.plan import expand_jobs_or_corners, make_plan
from support import sweep_process
from support.checkout import ROOT
from support.sweep_in_process import make_sweep_runner
from support.tiny_training import NO_PLOTS, make_faulty_overrides

SEARCH_SPACE = ["optimizer.lr=interval(0.001,0.1)", "data.batch_size=4,8"]
COMMON_OVERRIDES = [
    *(override for override in make_faulty_overrides(NO_PLOTS) if not override.startswith("data.batch_size")),
    "sweeper=optuna",
]

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OPTUNA = Requirement(EXTRAS["optuna"][0])
HAS_OPTUNA = is_installed("optuna") and importlib.metadata.version("optuna") in OPTUNA.specifier
requires_optuna = pytest.mark.skipif(not HAS_OPTUNA, reason="the extra optuna is not installed")


@pytest.fixture
def run_sweep(monkeypatch, tmp_path, capsys):
    if not HAS_OPTUNA:
        pytest.skip("the extra optuna is not installed")
    return make_sweep_runner(monkeypatch, tmp_path, capsys, *COMMON_OVERRIDES)


def find_sweep_dir() -> Path:
    (sweep_dir,) = Path("logs/sweep").iterdir()
    return sweep_dir


def read_results() -> list[dict[str, str]]:
    with (find_sweep_dir() / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_search_space_corners():
    jobs = expand_jobs_or_corners(["sweeper=optuna", *SEARCH_SPACE, "seed=3", "model=tiny_images"])

    assert len(jobs) == 4
    assert {"optimizer.lr=0.001", "optimizer.lr=0.1"} == {job[0] for job in jobs}
    assert {"seed=3"} == {job[2] for job in jobs}


@requires_optuna
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=3"], "sweeper=optuna requires a search range."),
        (
            ["sweeper.n_trials=0", *SEARCH_SPACE],
            "Invalid value for sweeper.n_trials: expected a value between 1 and 1,000,000, got 0.",
        ),
        (["sweeper.metrics=a", *SEARCH_SPACE], "Unknown setting 'sweeper.metrics'. Did you mean 'sweeper.metric'?"),
        (
            ["sweeper.direction=up", *SEARCH_SPACE],
            "Invalid value for sweeper.direction: expected maximize or minimize for each metric (val/accuracy), got",
        ),
        (
            ["optimizer.lr=interval(1,0.1)"],
            "Invalid value for optimizer.lr: expected low < high, got 'inter",
        ),
        (["optimizer=glob(*)"], "optimizer=glob(*) is not supported. List the options, separated by commas."),
        (
            ["+sweeper.seed=5", *SEARCH_SPACE],
            "sweeper.seed has no effect, because a search is seeded with `seed`. Use seed=5.",
        ),
        (["sweeper.direction=[minimize,minimize]", *SEARCH_SPACE], "got ['minimize', 'minimize']."),
    ],
)
def test_invalid_search_is_rejected(overrides, message):
    sweeper = [override for override in overrides if override.lstrip("+").startswith("sweeper.")]
    sweep_overrides = ["sweeper=optuna", *sweeper]
    rest = [override for override in overrides if override not in sweep_overrides]
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_plan(sweep_overrides, ["model=tiny_images", *rest])


def test_old_optuna_is_rejected_before_the_sweep(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "4.6.0")
    message = (
        "sweeper=optuna requires optuna 4.7 or newer, but version 4.6.0 is installed. "
        "Install it with `uv pip install -e '.[optuna]'`"
    )
    with pytest.raises(MissingPackageError, match=re.escape(message)):
        make_plan(["sweeper=optuna"], ["model=tiny_images", *SEARCH_SPACE])


def test_required_version_of_optuna_is_the_version_in_pyproject():
    target = "firstlight.sweep.optuna.ResumableOptunaSweeper"
    assert OPTUNA.specifier == f">={read_signature(target).constants['min_version']}"


@requires_optuna
def test_search_identity_includes_metric_but_not_n_trials():
    few, more, other = (
        make_plan(["sweeper=optuna", override], ["model=tiny_images", *SEARCH_SPACE])
        for override in ("sweeper.n_trials=3", "sweeper.n_trials=5", "sweeper.metric=val/loss")
    )

    assert few.identity == more.identity != other.identity
    assert (few.num_jobs, more.num_jobs) == (3, 5)


@pytest.mark.slow
def test_search_continues_after_failed_trial_and_can_be_extended(run_sweep, monkeypatch):
    monkeypatch.setenv("FAULT", "job==1:diverged")
    code, output = run_sweep(*SEARCH_SPACE, "sweeper.n_trials=3")

    assert code == 0, output
    assert [row["status"] for row in read_results()] == ["finished", "failed", "finished"]
    assert all(0.001 <= float(row["optimizer.lr"]) <= 0.1 for row in read_results())
    assert (find_sweep_dir() / "study.jsonl").is_file()
    pattern = r"^Best trial: job \d \(val/accuracy ([\d.]+)\). Reproduce with: make train .*optimizer.lr=[\d.]+"
    (best,) = re.findall(pattern, output, re.M)
    assert float(best) == max(float(row["val/accuracy"]) for row in read_results() if row["val/accuracy"])
    assert "Warning" not in output

    code, output = run_sweep(*SEARCH_SPACE, "sweeper.n_trials=4")

    assert output.startswith(f"Resuming sweep {find_sweep_dir()}: 3 of 4 jobs finished")
    assert [row["status"] for row in read_results()] == ["finished", "failed", "finished", "finished"]
    assert len({row["optimizer.lr"] for row in read_results()}) == 4


@pytest.mark.slow
def test_interrupted_search_resumes_interrupted_trial(run_sweep, monkeypatch):
    monkeypatch.setenv("FAULT", "job==1,step==1:KeyboardInterrupt")
    overrides = ["optimizer.lr=interval(0.001,0.1)", "data.batch_size=4", "sweeper.n_trials=3"]
    code, output = run_sweep(*overrides)
    interrupted = read_results()

    assert code == 130 or code != 0
    assert [row["status"] for row in interrupted] == ["finished", "interrupted"]
    assert "2 of 3 jobs remaining" in output

    monkeypatch.delenv("FAULT")
    code, output = run_sweep(*overrides)

    assert code == 0
    assert [row["status"] for row in read_results()] == ["finished"] * 3
    assert [row["optimizer.lr"] for row in read_results()[:2]] == [row["optimizer.lr"] for row in interrupted]
    assert len(json.loads((find_sweep_dir() / "1" / "run.json").read_text())["attempts"]) <= 2


@pytest.mark.slow
@requires_optuna
def test_second_process_resumes_killed_search(tmp_path):
    overrides = ["sweeper=optuna", "optimizer.lr=interval(0.001,0.1)", "data.batch_size=4", "sweeper.n_trials=3"]
    killed, _, sweep_dir = sweep_process.run_sweep(tmp_path, *overrides, FAULT="job==1,step==1:SIGKILL")
    records = [json.loads(file.read_text()) for file in sorted(sweep_dir.glob("*/run.json"))]
    code, output, _ = sweep_process.run_sweep(tmp_path, *overrides)
    results = sweep_process.read_results(sweep_dir)

    assert (killed, code) == (-signal.SIGKILL, 0), output
    assert [record["status"] for record in records] == ["finished", "running"]
    assert [row["status"] for row in results] == ["finished"] * 3
    # The open trial is found again, with the same value.
    rates = [row["optimizer.lr"] for row in results]
    assert all(f"optimizer.lr={rates[number]}" in records[number]["overrides"] for number in (0, 1))
    assert len(set(rates)) == 3


@pytest.mark.slow
def test_search_with_corrupt_study_prints_one_line_and_results(run_sweep):
    run_sweep(*SEARCH_SPACE, "sweeper.n_trials=1")
    (find_sweep_dir() / "study.jsonl").write_text("{}\n")
    code, output = run_sweep(*SEARCH_SPACE, "sweeper.n_trials=2")

    assert code == 2
    assert output.count("study.jsonl is corrupt (KeyError: ") == 1
    assert "Traceback" not in output
    assert "1 of 2 jobs remaining. Run the same command again to continue." in output


@pytest.mark.slow
def test_multi_objective_search_prints_best_trials(run_sweep):
    metrics = "sweeper.metric=[val/loss,speed/samples_per_s]"
    code, output = run_sweep(*SEARCH_SPACE, metrics, "sweeper.n_trials=3", "sweeper.n_jobs=2")
    pattern = r"^Best trial: job \d \(val/loss [\d.]+, speed/samples_per_s \S+\). Reproduce with: make train "

    assert code == 0
    assert len(read_results()) == 3
    assert len(re.findall(pattern, output, re.M)) >= 1
    assert all(float(row["val/loss"]) > 0 for row in read_results())


@pytest.mark.slow
def test_unknown_metric_error_lists_logged_metrics(run_sweep):
    code, output = run_sweep(*SEARCH_SPACE, "sweeper.n_trials=2", "sweeper.metric=val/top_accuracy")

    assert code == 2
    assert "Metric 'val/top_accuracy' was not logged. Set sweeper.metric to one of: " in output
    assert "val/accuracy" in output
