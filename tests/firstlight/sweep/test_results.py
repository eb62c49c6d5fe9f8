"""The table of results shows the metrics that the jobs logged, whatever the task."""

import json

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
