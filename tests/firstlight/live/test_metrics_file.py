"""Tests of reading a metrics.csv that grows."""

import pytest

from firstlight.live import metrics_file
from firstlight.live.metrics_file import MetricsFile, read_metric_names
from firstlight.run_data.learning_curves import load_curves


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n,0,3.0\n")
    return tmp_path


def append(run_dir, text):
    with (run_dir / "metrics.csv").open("a") as file:
        file.write(text)


def get_loss(metrics):
    (group,) = metrics.downsample(500)["curves"]
    return dict(zip(group["steps"], group["metrics"]["train/loss"], strict=True))


def test_only_appended_lines_are_read(run_dir, monkeypatch):
    metrics = MetricsFile(run_dir)
    metrics.update()
    lines = []
    add_rows = metrics.table.add_rows
    monkeypatch.setattr(metrics.table, "add_rows", lambda rows: add_rows([lines.append(row) or row for row in rows]))
    append(run_dir, ",1,2.0\n")
    metrics.update()

    assert lines == [",1,2.0\n"]
    assert get_loss(metrics) == {0: 3.0, 1: 2.0}


def test_incomplete_line_is_read_when_it_is_complete(run_dir):
    metrics = MetricsFile(run_dir)
    append(run_dir, ",1,1")
    metrics.update()
    assert get_loss(metrics) == {0: 3.0}

    append(run_dir, "2.5\n")
    metrics.update()
    assert get_loss(metrics) == {0: 3.0, 1: 12.5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch,step,train/loss\n,0,3.0\n",
        "epoch,step,train/loss,val/f1\n,0,3.0,\n,1,2.0,\n,2,1.0,0.5\n,3,0.5,\n",
        "epoch,step,train/loss\n,0,9.0\n,1,8.0\n,2,7.0\n,3,6.0\n",
    ],
)
def test_rewritten_file_equals_a_new_one(run_dir, text):
    """A new metric adds a column, and a resumed run removes rows: both rewrite the file."""
    append(run_dir, ",1,2.0\n,2,1.0\n")
    metrics = MetricsFile(run_dir)
    metrics.update()
    (run_dir / "metrics.csv").write_text(text)
    metrics.update()

    assert metrics.downsample(500) == load_curves(run_dir, 500)


def test_missing_file_has_remark_until_it_exists(tmp_path):
    metrics = MetricsFile(tmp_path)
    metrics.update()
    assert metrics.downsample(500)["remarks"] == ["No learning curves: metrics.csv does not exist."]

    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,1\n")
    metrics.update()
    assert get_loss(metrics) == {0: 1.0}


def test_damaged_file_has_remark(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"step,\xff\xfe\n\x00,1\n" + b'"' * 200_000 + b"\n")
    metrics = MetricsFile(tmp_path)
    metrics.update()

    assert metrics.downsample(500)["curves"] == []
    assert metrics.downsample(500)["remarks"][0].startswith("No learning curves: metrics.csv ")


def test_only_the_beginning_of_a_huge_file_is_read(run_dir, monkeypatch):
    monkeypatch.setattr(metrics_file, "MAX_BYTES", 2**20)
    append(run_dir, "".join(f",{step},1.0\n" for step in range(1, 200_000)))
    metrics = MetricsFile(run_dir)
    for _ in range(2):
        metrics.update()

    assert metrics.num_bytes <= 2**20
    assert metrics.downsample(500)["remarks"] == ["metrics.csv is larger than 1 MiB. These are its first rows."]
    assert len(metrics.table.curves["train/loss"]) <= 20_000


def test_metric_names_are_the_columns_with_a_curve(tmp_path):
    (tmp_path / "metrics.csv").write_text('epoch,step,test/loss,train/loss,"a,b"\n')

    assert read_metric_names(tmp_path) == ["train/loss", "a,b"]
    assert read_metric_names(tmp_path / "none") == []
