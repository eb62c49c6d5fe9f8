"""Results of a sweep show what the jobs logged, whatever the task; the plan of a search is checked."""

import json

import pytest

from firstlight.run.errors import ConfigError
from firstlight.sweep.objectives import resolve_directions
from firstlight.sweep.plan import SweepPlan, expand_jobs_or_corners, validate_jobs
from firstlight.sweep.results import collect_results, print_results


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
