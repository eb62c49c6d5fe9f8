"""What the page tells of runs, whatever state their files are in."""

import json

import pytest

from firstlight.report.collect import collect_report
from firstlight.report.evaluation import ImageEmbedder, load_evaluation
from firstlight.report.learning_curves import load_curves
from firstlight.report.render import render
from firstlight.report.run_info import load_run_info
from support.runs import HOSTILE, PNG, write_logs, write_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return write_logs(tmp_path_factory.mktemp("report") / "logs")


def run_named(content, name):
    return next(run for run in content.report["runs"] if run["name"] == name)


def test_runs_are_found_at_any_depth_but_not_in_those_of_others(logs):
    found = {run["name"]: run["status"] for run in collect_report([logs]).report["runs"]}

    assert found == {
        **{f"sweep/now/{number}_x": "finished" for number in range(4)},
        "train/failed": "failed",
        "train/running": "running",
        "train/half": "damaged",
    }


def test_the_settings_that_differ_are_columns(logs):
    content = collect_report([logs / "sweep"]).report

    assert content["parameters"] == ["data.batch_size", "seed"]
    assert [column["label"] for column in content["columns"]][:4] == ["run", "status", "data.batch_size", "seed"]
    assert content["runs"][0]["commit"] == "01234567+dirty"


def test_folders_that_overlap_give_each_run_once(logs):
    assert len(collect_report([logs, logs / "sweep", logs / "sweep/now/0_x"]).report["runs"]) == 7


def test_a_single_run_is_called_by_its_own_name(logs):
    assert [run["name"] for run in collect_report([logs / "sweep/now/0_x"]).report["runs"]] == ["0_x"]


def test_the_page_opens_with_the_most_accurate_runs(tmp_path):
    for number in range(12):
        write_run(tmp_path / str(number), accuracy=number / 20)
    chosen = [run["name"] for run in collect_report([tmp_path]).report["runs"] if run["chosen"]]

    assert sorted(chosen, key=int) == [str(number) for number in range(4, 12)]


def test_seeds_alone_are_summed_up(logs):
    rows = {row["settings"]: row for row in collect_report([logs]).report["seeds"]}

    assert set(rows) == {"data.batch_size=16", "data.batch_size=32"}
    assert rows["data.batch_size=16"]["metrics"]["test/accuracy"] == pytest.approx([0.55, 0.0707], rel=1e-3)


def test_a_benchmark_gives_a_bar_for_each_model_and_its_caption(logs):
    found = collect_report([logs]).report["benchmarks"]

    assert found[0]["bars"] == {"training": [12.0]}
    assert found[0]["models"] == ["deep, batch size 8"]
    assert "cuda: chip of cuda, 8 GiB, 32-true" in found[0]["caption"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"started": 1, "metrics": 3}'])
def test_a_damaged_benchmark_is_said_to_be(tmp_path, text):
    (tmp_path / "benchmark.json").write_text(text)

    assert "damaged" in collect_report([tmp_path]).report["benchmarks"][0]["remark"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "run.json is empty"),
        ('{"status": "fin', "run.json is half-written or no JSON"),
        ("[1]", "run.json holds no record of a run"),
        ("\udcff", "run.json is half-written or no JSON"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, text, told):
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    run = load_run_info(tmp_path, "x")

    assert (run["status"], run["reason"]) == ("damaged", told)
    assert HOSTILE not in render(collect_report([tmp_path]))


def test_a_record_with_fields_of_other_types_is_shown_as_far_as_it_goes(tmp_path):
    fields = {"status": "failed", "overrides": "x", "metrics": [1], "git": None, "duration_s": "long", "started": 3}
    (tmp_path / "run.json").write_text(json.dumps(fields))
    run = load_run_info(tmp_path, "x")

    assert (run["metrics"], run["overrides"], run["reason"]) == ({}, {}, "no reason was written")
    assert render(collect_report([tmp_path]))


def test_figures_that_are_no_numbers_stay_readable(tmp_path):
    (tmp_path / "run.json").write_text('{"status": "finished", "metrics": {"test/loss": NaN, "val/loss": Infinity}}')

    assert load_run_info(tmp_path, "x")["metrics"] == {"test/loss": "nan", "val/loss": "inf"}


def test_a_failure_shows_the_end_of_its_log_without_colours(logs):
    log = run_named(collect_report([logs]), "train/failed")["log"]

    assert log == [f"line {index}" for index in range(60, 100)]


def test_a_running_run_tells_when_it_was_last_heard_of(logs):
    assert "its files last changed at 20" in run_named(collect_report([logs]), "train/running")["reason"]


def test_of_a_resumed_run_the_later_row_of_a_step_counts(tmp_path):
    rows = ["epoch,step,train/loss", ",0,3", ",2,1", ",1,2", "0,2,", ",2,0.5", ",3,nan", ",4,x", ",,5,6", "7"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    found = load_curves(tmp_path, points=500)

    assert found["curves"] == [{"steps": [0, 1, 2, 3], "metrics": {"train/loss": [3, 2, 0.5, None]}}]


@pytest.mark.parametrize("text", ["", "epoch,step,train/loss\n", "step,\0\n\0,1"])
def test_metrics_without_a_row_are_remarked(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)

    assert load_curves(tmp_path, 500)["remarks"][0].startswith("No learning curves: ")


def test_long_curves_keep_so_many_points_with_both_ends(tmp_path):
    folder = write_run(tmp_path / "run", rows=5000)
    group = next(each for each in load_curves(folder, 500)["curves"] if "train/loss" in each["metrics"])

    assert len(group["steps"]) == len(group["metrics"]["train/loss"]) == 500
    assert (group["steps"][0], group["steps"][-1]) == (0, 4999)


def test_classes_have_their_scores_and_mistakes_come_first(logs):
    found = load_evaluation(logs / "sweep/now/3_x", ImageEmbedder())

    assert found["classes"][0] == {
        "name": HOSTILE,
        "precision": 1.0,
        "recall": 0.8,
        "f1": pytest.approx(16 / 18),
        "samples": 10,
    }
    assert [each["id"] for each in found["samples"]] == ["2", "1"]
    assert found["samples"][0]["picture"].startswith("data:image/png;base64,")
    assert found["first_batch"].startswith("data:image/png;base64,")


def test_what_a_test_did_not_leave_is_remarked(logs):
    assert set(load_evaluation(logs / "train/running", ImageEmbedder())["missing"]) == {"matrix", "samples"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"class_names": ["a"], "counts": [[1, 2]]}', '[{"id": 1}]', "[3]"])
def test_a_damaged_evaluation_is_remarked(tmp_path, text):
    (tmp_path / "confusion_matrix.json").write_text(text)
    (tmp_path / "predictions.json").write_text(text)
    missing = load_evaluation(tmp_path, ImageEmbedder())["missing"]

    assert missing["matrix"] == "confusion_matrix.json is damaged."
    assert text == "[]" or missing["samples"] == "predictions.json is damaged."


def test_only_small_pngs_of_the_run_itself_come_into_the_page(tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "fine.png").write_bytes(PNG)
    (folder / "text.png").write_text("text")
    (folder / "large.png").write_bytes(PNG + bytes(300_000))
    pictures = ImageEmbedder()

    assert pictures.make_data_uri(folder, "fine.png")
    for name in ("../secret.png", "text.png", "large.png", "none.png", "\0"):
        assert pictures.make_data_uri(folder, name) is None
    assert ImageEmbedder(room=10).make_data_uri(folder, "fine.png") is None
