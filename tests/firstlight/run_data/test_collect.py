"""Tests of the data of the report, for complete, missing and corrupt files."""

import json
import os

import pytest

from firstlight.page.render import render
from firstlight.run_data import collect
from firstlight.run_data.collect import collect_report
from firstlight.run_data.evaluation import ImageEmbedder, load_evaluation
from firstlight.run_data.learning_curves import load_curves
from firstlight.run_data.run_info import load_run_info
from support.runs import HOSTILE, PNG, write_logs, write_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return write_logs(tmp_path_factory.mktemp("report") / "logs")


def find_run(content, name):
    return next(run for run in content.report["runs"] if run["name"] == name)


def test_runs_are_found_at_any_depth_but_not_inside_other_runs(logs):
    statuses = {run["name"]: run["status"] for run in collect_report([logs]).report["runs"]}

    assert statuses == {
        **{f"sweep/now/{number}_x": "finished" for number in range(4)},
        "train/failed": "failed",
        "train/running": "running",
        "train/half": "corrupt",
    }


def test_varying_hyperparameters_are_columns(logs):
    report = collect_report([logs / "sweep"]).report

    assert report["hyperparameters"] == ["data.batch_size", "seed"]
    assert [column["label"] for column in report["columns"]][:4] == ["run", "status", "data.batch_size", "seed"]
    assert report["runs"][0]["commit"] == "01234567+dirty"


def test_overlapping_directories_list_each_run_once(logs):
    assert len(collect_report([logs, logs / "sweep", logs / "sweep/now/0_x"]).report["runs"]) == 7


def test_single_run_is_named_after_its_directory(logs):
    assert [run["name"] for run in collect_report([logs / "sweep/now/0_x"]).report["runs"]] == ["0_x"]


def test_default_selection_is_most_accurate_runs(tmp_path):
    for number in range(12):
        write_run(tmp_path / str(number), accuracy=number / 20)
    report = collect_report([tmp_path]).report
    selected = [report["runs"][index]["name"] for index in report["selection"]]

    assert sorted(selected, key=int) == [str(number) for number in range(4, 12)]


def test_page_has_the_details_of_a_bounded_number_of_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_DETAILED_RUNS", 9)
    for number in range(12):
        run_dir = write_run(tmp_path / str(number), started=f"2026-11-20T10:00:{number:02d}Z", status="failed")
        (run_dir / "output.log").write_text("a line")
    content = collect_report([tmp_path])
    runs, details = content.report["runs"], content.details

    remark = f"{collect.NO_DETAILS} Use runs=<its directory>."
    assert [run["name"] for run in runs] == [str(number) for number in reversed(range(12))]
    assert [bool(detail["curves"]) for detail in details] == [True] * 9 + [False] * 3
    assert [run["log"] for run in runs] == [["a line"]] * 9 + [[remark]] * 3
    assert details[-1]["remarks"] == [remark]
    assert runs[-1]["curve_metrics"] == []


def test_seed_statistics_aggregate_runs_that_differ_only_in_seed(logs):
    rows = {row["overrides"]: row for row in collect_report([logs]).report["seeds"]}

    assert set(rows) == {"data.batch_size=16", "data.batch_size=32"}
    assert rows["data.batch_size=16"]["metrics"]["test/accuracy"] == pytest.approx([0.55, 0.0707, 2], rel=1e-3)


def test_benchmark_has_bar_for_each_model_and_caption(logs):
    benchmark = collect_report([logs]).report["benchmarks"][0]

    assert benchmark["bars"] == {"training": [12.0]}
    assert benchmark["models"] == ["deep, batch size 8"]
    failure = f"Failed: {HOSTILE} on cuda (evaluation): Out of memory"
    assert benchmark["caption"] == ["cuda: chip of cuda, 8 GiB, 32-true", failure]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"started": 1, "metrics": 3}'])
def test_corrupt_benchmark_has_remark(tmp_path, text):
    (tmp_path / "benchmark.json").write_text(text)

    assert "corrupt" in collect_report([tmp_path]).report["benchmarks"][0]["remark"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "run.json is empty"),
        ('{"status": "fin', "run.json is incomplete or not valid JSON"),
        ("[1]", "run.json is not a run record"),
        ("\udcff", "run.json is incomplete or not valid JSON"),
    ],
)
def test_corrupt_run_json_is_reported(tmp_path, text, reason):
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    run = load_run_info(tmp_path, "x")

    assert (run["status"], run["reason"]) == ("corrupt", reason)
    assert HOSTILE not in render(collect_report([tmp_path]))


def test_run_json_with_wrong_types_is_loaded_as_far_as_possible(tmp_path):
    fields = {"status": "failed", "overrides": "x", "metrics": [1], "git": None, "duration_s": "long", "started": 3}
    (tmp_path / "run.json").write_text(json.dumps(fields))
    run = load_run_info(tmp_path, "x")

    assert (run["metrics"], run["overrides"], run["reason"]) == ({}, {}, "no reason recorded")
    assert render(collect_report([tmp_path]))


FILES = ["run.json", "output.log", "metrics.csv", "confusion_matrix.json", "predictions.json", "first_batch.png"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", FILES)
def test_report_never_contains_files_outside_the_run(tmp_path, name, kind):
    (tmp_path / "private.txt").write_text("\x89PNG\r\n\x1a\nCANARYWORD,step\n1,1\n")
    for run in ("run", "other"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "run.json").write_text('{"status": "failed", "overrides": []}')
    path = tmp_path / "runs" / "run" / name
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to("../../private.txt")
    else:
        os.mkfifo(path)
    page = render(collect_report([tmp_path / "runs"]))

    assert "CANARYWORD" not in page
    assert [run["status"] for run in collect_report([tmp_path / "runs"]).report["runs"]].count("failed") >= 1


@pytest.mark.parametrize("name", ["run.json", "confusion_matrix.json", "predictions.json"])
@pytest.mark.parametrize("text", ["[" * 99999, "[1]", '[{"true": 1}]', '{"class_names": 3}', '["x"]', "null"])
def test_one_damaged_run_is_one_damaged_run(tmp_path, name, text):
    for run in ("run", "other"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "run.json").write_text('{"status": "finished", "overrides": []}')
    (tmp_path / "run" / name).write_text(text)
    content = collect_report([tmp_path])

    assert render(content)
    assert [run["status"] for run in content.report["runs"] if run["name"] == "other"] == ["finished"]


def test_nonfinite_metrics_are_strings(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "finished", "metrics": {"test/loss": NaN, "val/loss": Infinity}}')

    assert load_run_info(tmp_path, "x")["metrics"] == {"test/loss": "nan", "val/loss": "inf"}


def test_failed_run_has_log_tail_without_ansi_colors(logs):
    log = find_run(collect_report([logs]), "train/failed")["log"]

    assert log == [f"line {index}" for index in range(60, 100)]


def test_running_run_has_time_of_last_file_change(logs):
    assert "last file change at 20" in find_run(collect_report([logs]), "train/running")["reason"]


def test_later_row_of_same_step_replaces_earlier_row(tmp_path):
    rows = ["epoch,step,train/loss", ",0,3", ",2,1", ",1,2", "0,2,", ",2,0.5", ",3,nan", ",4,x", ",,5,6", "7"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    details = load_curves(tmp_path, max_points=500)

    assert details["curves"] == [{"steps": [0, 1, 2, 3], "metrics": {"train/loss": [3, 2, 0.5, None]}}]


@pytest.mark.parametrize("text", ["", "epoch,step,train/loss\n", "step,\0\n\0,1"])
def test_empty_metrics_csv_has_remark(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)

    assert load_curves(tmp_path, 500)["remarks"][0].startswith("No learning curves: ")


def test_long_curves_are_downsampled_including_first_and_last_step(tmp_path):
    run_dir = write_run(tmp_path / "run", rows=5000)
    group = next(group for group in load_curves(run_dir, 500)["curves"] if "train/loss" in group["metrics"])

    assert len(group["steps"]) == len(group["metrics"]["train/loss"]) == 500
    assert (group["steps"][0], group["steps"][-1]) == (0, 4999)


def test_evaluation_has_class_metrics_and_errors_come_first(logs):
    evaluation = load_evaluation(logs / "sweep/now/3_x", ImageEmbedder())

    assert evaluation["classes"][0] == {
        "name": HOSTILE,
        "precision": 1.0,
        "recall": 0.8,
        "f1": pytest.approx(16 / 18),
        "support": 10,
    }
    assert [sample["id"] for sample in evaluation["samples"]] == ["2", "1"]
    assert evaluation["samples"][0]["image"].startswith("data:image/png;base64,")
    assert evaluation["first_batch"].startswith("data:image/png;base64,")


def test_missing_test_results_have_remarks(logs):
    assert set(load_evaluation(logs / "train/running", ImageEmbedder())["missing"]) == {
        "matrix",
        "labels",
        "scatter",
        "samples",
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"class_names": ["a"], "counts": [[1, 2]]}', '[{"id": 1}]', "[3]"])
def test_corrupt_test_results_have_remarks(tmp_path, text):
    (tmp_path / "confusion_matrix.json").write_text(text)
    (tmp_path / "predictions.json").write_text(text)
    missing = load_evaluation(tmp_path, ImageEmbedder())["missing"]

    assert missing["matrix"] == "confusion_matrix.json is corrupt."
    assert text == "[]" or missing["samples"] == "predictions.json is corrupt."


def test_only_small_png_files_inside_run_directory_are_embedded(tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "valid.png").write_bytes(PNG)
    (run_dir / "text.png").write_text("text")
    (run_dir / "large.png").write_bytes(PNG + bytes(300_000))
    embedder = ImageEmbedder()

    assert embedder.make_data_uri(run_dir, "valid.png")
    for name in ("../secret.png", "text.png", "large.png", "none.png", "\0"):
        assert embedder.make_data_uri(run_dir, name) is None
    assert ImageEmbedder(byte_budget=10).make_data_uri(run_dir, "valid.png") is None
