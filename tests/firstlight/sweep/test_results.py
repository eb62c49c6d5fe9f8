"""Results of a sweep show what the jobs logged, whatever the task; the plan of a search is checked."""

import json
import statistics

import numpy as np
import pytest

from firstlight.run.errors import ConfigError
from firstlight.sweep.objectives import resolve_directions
from firstlight.sweep.plan import SweepPlan, expand_jobs_or_corners, validate_jobs
from firstlight.sweep.results import collect_results, print_results, report_statistics
from firstlight.sweep.summary import summarize_sweep


def write_jobs(sweep_dir, metrics):
    for index, values in enumerate(metrics):
        (sweep_dir / str(index)).mkdir(parents=True)
        record = {"overrides": [f"model.width={2**index}"], "status": "finished", "metrics": values, "duration_s": 1.0}
        (sweep_dir / str(index) / "run.json").write_text(json.dumps(record))


def list_columns(sweep_dir, capsys, metrics=()):
    """Return the column names of results.csv, and the printed ones that belong to metrics."""
    rows = collect_results(sweep_dir, metrics)
    print_results(sweep_dir, rows, metrics)
    return list(rows[0]), [word for word in capsys.readouterr().out.split() if "/" in word and "─" not in word]


def test_metrics_of_a_regression_are_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_jobs(tmp_path, [{"test/mae": 1.5, "val/mae": 2.0, "train/loss": 3.0, "speed/samples_per_s": 9.0}] * 2)
    columns, printed = list_columns(tmp_path, capsys)

    assert columns == [
        *("model.width", "status", "test/mae", "val/mae", "samples/s", "peak GiB", "seconds", "reason", "run_dir")
    ]
    assert [name for name in printed if name in columns] == ["test/mae", "val/mae", "samples/s"]


def test_only_the_accuracy_of_a_classification_is_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_jobs(tmp_path, [{"test/accuracy": 0.9, "test/loss": 0.2, "val/accuracy": 0.8, "val/my_score": 1.0}] * 2)
    columns, printed = list_columns(tmp_path, capsys, ["val/my_score"])

    assert {"test/accuracy", "test/loss", "val/accuracy", "val/my_score"} <= {*columns}
    assert [name for name in printed if name in columns] == ["val/my_score", "test/accuracy"]


@pytest.mark.parametrize(
    ("metrics", "directions"),
    [
        (["val/mae", "val/r2"], ["minimize", "maximize"]),
        (["speed/samples_per_s", "speed/peak_memory_gib", "speed/step_ms"], ["maximize", "minimize", "minimize"]),
    ],
)
def test_directions_of_a_search_follow_from_the_names(metrics, directions):
    assert resolve_directions(metrics, None) == directions


def test_unknown_direction_of_a_search_is_an_error():
    with pytest.raises(ConfigError, match="The direction of sweeper.metric=val/steps is unknown"):
        resolve_directions(["val/accuracy", "val/steps"], None)


def test_interval_requires_a_search():
    with pytest.raises(ConfigError, match=r"optimizer.lr=interval\(0.0001,0.01\) requires sweeper=optuna"):
        expand_jobs_or_corners(["optimizer.lr=interval(0.0001,0.01)"])


def test_interval_of_an_integer_names_the_cast():
    plan = SweepPlan(expand_jobs_or_corners(["sweeper=optuna", "data.batch_size=interval(4,32)"]), sweeper={"a": 1})

    with pytest.raises(ConfigError, match=r"data.batch_size: expected an integer, .* use int\(interval\("):
        validate_jobs(plan)


def write_folds(sweep_dir):
    """Write jobs of 2 models, 3 folds and 2 seeds, of which one has failed and one has no accuracy; return values."""
    values = {}
    for index, (model, fold, seed) in enumerate(np.ndindex(2, 3, 2)):
        (sweep_dir / str(index)).mkdir(parents=True)
        status = "failed" if (model, fold, seed) == (1, 2, 1) else "finished"
        accuracy = float("nan") if (model, fold, seed) == (1, 0, 0) else 0.5 + index**2 / 1000
        record = {
            "overrides": [f"model.width={model}", f"data.fold={fold}", f"seed={seed}", f"output_dir={index}"],
            "status": status,
            "seed": seed,
            "metrics": {"test/accuracy": accuracy, "test/loss": index / 7} if status == "finished" else {},
        }
        (sweep_dir / str(index) / "run.json").write_text(json.dumps(record))
        if status == "finished":
            values.setdefault(f"model.width={model}", []).append(accuracy)
    return values


def test_mean_and_standard_deviation_over_folds_and_seeds_are_printed_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    values = write_folds(tmp_path)
    report_statistics(tmp_path)
    printed = capsys.readouterr().out
    header, *lines = (tmp_path / "statistics.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    jobs = summarize_sweep(tmp_path, SweepPlan([[]] * 12), 0)["statistics"]

    for row, job, (overrides, found) in zip(rows, jobs, values.items(), strict=True):
        numbers = [value for value in found if value == value]
        mean, std = statistics.fmean(numbers), np.std(numbers, ddof=1)
        assert (row["overrides"], row["total"], row["runs"]) == (overrides, "6", str(len(found)))
        assert float(row["test/accuracy mean"]) == pytest.approx(mean)
        assert float(row["test/accuracy std"]) == pytest.approx(std)
        assert row["test/accuracy n"] == str(len(numbers))
        assert f"{mean:.4g} ± {std:.2g}" in printed
        expected = {"mean": pytest.approx(mean), "std": pytest.approx(std), "n": len(numbers)}
        assert job["metrics"]["test/accuracy"] == expected
        assert (job["num_finished"], job["num_jobs"]) == (len(found), 6)
    assert "5 of 6" in printed
    assert [int(row["test/accuracy n"]) for row in rows] == [6, 4]


def test_sweep_without_repeats_has_no_statistics(tmp_path, capsys):
    write_jobs(tmp_path, [{"test/mae": 1.5}] * 2)
    report_statistics(tmp_path)

    assert capsys.readouterr().out == ""
    assert not (tmp_path / "statistics.csv").exists()
