"""Sweeps: one job per combination of values, a table of results, and failed jobs in it."""

import csv
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError
from firstlight.sweep import __main__ as sweep
from firstlight.sweep import plots
from firstlight.sweep.plan import SweepPlan, expand_jobs_or_corners
from firstlight.sweep.results import print_results, write_results_and_plots
from support.options import get_tiny_model, make_tiny_overrides

FEW_BATCHES = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]


def run_sweep(monkeypatch, directory, *overrides):
    """Run a sweep, and return its exit code, its directory and the rows of results.csv."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "argv", ["sweep", *overrides])
    with pytest.raises(SystemExit) as stop:
        sweep.main()
    (sweep_dir,) = (directory / "logs" / "sweep").iterdir()
    with (sweep_dir / "results.csv").open() as file:
        return stop.value.code, sweep_dir, list(csv.DictReader(file))


@pytest.mark.slow
def test_results_contain_every_combination(monkeypatch, tmp_path, capsys):
    tiny = [override for override in make_tiny_overrides(get_tiny_model()) if override != "data.batch_size=4"]
    swept = ["optimizer.lr=0.01,0.02", "data.batch_size=2,4"]
    code, sweep_dir, rows = run_sweep(monkeypatch, tmp_path, *tiny, *FEW_BATCHES, *swept)
    output = capsys.readouterr().out

    assert code == 0
    assert [(row["optimizer.lr"], row["data.batch_size"]) for row in rows] == [
        ("0.01", "2"),
        ("0.01", "4"),
        ("0.02", "2"),
        ("0.02", "4"),
    ]
    assert {"finished"} == {row["status"] for row in rows}
    assert all(float(row["test/accuracy"]) >= 0 and float(row["samples/s"]) > 0 for row in rows)
    assert (sweep_dir / "results.png").is_file()
    assert "0_data.batch_size-2_optimizer.lr-0.01" in [path.name for path in sweep_dir.iterdir()]
    assert "4 jobs" in output
    assert "0.02" in output
    validate_config(compose_config("evaluate", [f"run={rows[3]['run_dir']}"]))  # The directory name needs no quotes.
    record = json.loads((tmp_path / rows[0]["run_dir"] / "run.json").read_text())
    assert float(rows[0]["test/accuracy"]) == record["metrics"]["test/accuracy"]


@pytest.mark.slow
def test_sweep_continues_after_job_out_of_memory(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FAULT", "batch>4:MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)")
    tiny = [override for override in make_tiny_overrides("tiny_faulty") if not override.startswith("data.batch_size")]
    code, _, rows = run_sweep(monkeypatch, tmp_path, *tiny, *FEW_BATCHES, "data.batch_size=2,8,4")
    output = capsys.readouterr().out

    assert code == 1
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert [row["data.batch_size"] for row in rows if row["reason"].startswith("Out of memory")] == ["8"]
    assert "Out of memory with data.batch_size=8. Try data.batch_size=4." in output


def test_sweeps_of_same_second_have_distinct_directories(tmp_path):
    directories = {sweep.make_timestamped_dir(tmp_path) for _ in range(5)}

    assert len(directories) == 5


def test_directory_that_cannot_be_written_is_reported():
    with pytest.raises(ConfigError, match="Cannot write to /proc/sweep: .*. Make it writable, or use another working"):
        sweep.make_timestamped_dir(Path("/proc/sweep"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        *[(f"a={value}", True) for value in ("1,2", "[1,2],[3]", "range(1,5)", "int(interval(4,8))", "sort(3,1)")],
        *[(f"a={value}", False) for value in ("[1,2]", "1", "", "'1,2'")],
    ],
)
def test_is_sweep_override(override, expected):
    assert expected == sweep.is_sweep_override(override)


def test_jobs_with_swept_paths_are_named_by_number():
    plan = SweepPlan([["data.root=a/b"], ["data.root=c/d"]])

    assert sweep.make_job_naming_overrides(["data.root=a/b,c/d"], plan) == ["hydra.sweep.subdir=${hydra.job.num}"]


KEYS = ["optimizer.lr", "optimizer.weight_decay", "model.label_smoothing", "scheduler.warmup_fraction"]
KEYS += ["trainer.gradient_clip_val", "callbacks.loss_guard.spike_factor"]


@pytest.mark.parametrize(
    ("values", "num_keys", "sweeper", "by_number"),
    [
        ("0.1,0.01", 6, {}, False),
        ("0.00012345678901234567,0.0012345678901234567", 6, {}, True),
        ("0.00012345678901234567,0.0012345678901234567", 3, {}, False),
        ("interval(0,1)", 3, {"n_trials": 9}, False),
        ("interval(0,1)", 6, {"n_trials": 9}, True),
        # Hydra requires quotes, and values in quotes are not part of a name.
        ("'" + "\u4e2d" * 70 + "',b", 1, {}, True),
    ],
)
def test_jobs_with_long_names_are_named_by_number(values, num_keys, sweeper, by_number):
    overrides = ["seed=1", *(f"{key}={values}" for key in KEYS[:num_keys])]
    first = "0" if sweeper else values.split(",")[0]
    plan = SweepPlan([["seed=1", *(f"{key}={first}" for key in KEYS[:num_keys])]], {}, sweeper)
    naming = sweep.make_job_naming_overrides(overrides, plan)

    assert (naming[-1] == "hydra.sweep.subdir=${hydra.job.num}") == (by_number or bool(sweeper))
    assert (sweep.estimate_name_bytes(plan, ["seed"]) > sweep.MAX_DIR_NAME_BYTES) == by_number


@pytest.mark.slow
def test_results_of_very_many_jobs_have_bounded_table_and_plots(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plots, "MAX_BARS", 10)  # plotting 100 bars takes seconds
    keys = [f"model.config_overrides.a_long_key_{index}" for index in range(10)]
    metrics = {"test/accuracy": 0.5, "samples/s": 100.0, "peak GiB": 1.0}
    rows = [
        {
            **dict.fromkeys(keys, "0.12345678901234567" * 10),
            "data.batch_size": 2 ** (index % 4),
            "seed": index,
            "status": "failed" if index % 2 else "finished",
            **metrics,
            "reason": "x" * 500,
            "run_dir": f"logs/{index}",
        }
        for index in range(10_000)
    ]
    write_results_and_plots(tmp_path, rows)
    print_results(tmp_path, rows)
    printed = capsys.readouterr().out

    assert max(Image.open(tmp_path / "results.png").size) < 2_000
    assert max(Image.open(tmp_path / "batch_sizes.png").size) < 2_000
    assert sum(line.startswith("failed: ") for line in printed.splitlines()) == 100
    assert f"Printed at most 100 of 10,000 jobs. All jobs: {tmp_path / 'results.csv'}" in printed
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 10_001


def test_experiments_can_be_swept():
    assert len(expand_jobs_or_corners(["model=tiny_images", "experiment=smoke,overfit"])) == 2


def test_glob_with_experiment_is_rejected():
    with pytest.raises(ConfigError, match=r"model=glob\(\*\) is not supported\. List the options"):
        expand_jobs_or_corners(["model=glob(*)", "experiment=smoke"])


@pytest.mark.parametrize("sweeper", [[], ["sweeper=optuna"]])
def test_interval_in_a_list_is_rejected(sweeper):
    message = r"Invalid value for a: expected either one interval or a list of values, got 'interval\(0,1\),2'\."
    with pytest.raises(ConfigError, match=message):
        expand_jobs_or_corners([*sweeper, "a=interval(0,1),2"])


def test_sweep_of_experiment_config_is_expanded():
    jobs = expand_jobs_or_corners(["model=tiny_images", "experiment=batch_size_sweep", "seed=1,2"])

    assert len(jobs) == 8
    assert sorted(jobs[0]) == ["data.batch_size=8", "experiment=batch_size_sweep", "model=tiny_images", "seed=1"]
