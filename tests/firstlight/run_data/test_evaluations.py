"""Tests of the evaluations of a run in the report: listed with their data, and apart from the run's own results."""

import json

import pytest

from firstlight.page.render import render
from firstlight.run_data.collect import collect_report
from firstlight.run_data.evaluations import MAX_EVALUATIONS, list_evaluation_dirs, load_evaluation_info
from support.runs import HOSTILE, write_evaluation, write_run, write_test_results


@pytest.fixture
def run_dir(tmp_path):
    run_dir = write_run(tmp_path / "train" / "run")
    write_test_results(run_dir)
    (run_dir / "confusion_matrix.json").write_text(json.dumps({"class_names": ["a", "b"], "counts": [[1, 0], [0, 1]]}))
    return run_dir


def test_evaluations_are_listed_with_their_data_and_results(run_dir, tmp_path):
    write_evaluation(run_dir / "evaluations" / "now", run_dir, accuracy=0.25)
    content = collect_report([tmp_path])
    (row,) = content.report["evaluations"]
    (detail,) = content.details

    assert row["run"] == content.report["runs"][0]["name"]
    assert (row["split"], row["num_samples"], row["metrics"]) == ("test", 15, {"test/accuracy": 0.25})
    assert row["data"] == "ImageFolderDataModule, root=new/photos"
    # The results of the run and of its evaluation stay apart.
    assert detail["matrix"] == [[1, 0], [0, 1]]
    assert detail["evaluations"][0]["matrix"] == [[8, 2], [0, 5]]
    assert detail["evaluations"][0]["samples"][0]["image"].startswith("data:image/png")


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ({"test/accuracy": [0.25, 0.5], "test/loss": [1]}, {"test/accuracy": [0.25, 0.5]}),
        ({"a": [float("nan"), 1], "b": ["x", 2], "c": HOSTILE, "d": [True, 1]}, {}),
        (HOSTILE, {}),
    ],
)
def test_valid_intervals_are_listed(run_dir, intervals, expected):
    path = write_evaluation(run_dir / "evaluations" / "now", run_dir, intervals=intervals)

    assert load_evaluation_info(path)["intervals"] == expected


def test_evaluation_of_read_only_run_is_listed_with_its_run(run_dir, tmp_path):
    write_evaluation(tmp_path / "evaluate" / "run_now", run_dir)
    content = collect_report([tmp_path])

    assert len(content.report["runs"]) == 1
    assert [evaluation["split"] for evaluation in content.details[0]["evaluations"]] == ["test"]


def test_evaluation_without_its_run_is_listed(tmp_path):
    write_evaluation(tmp_path / "evaluate" / "other_now", tmp_path / "elsewhere")
    report = collect_report([tmp_path]).report

    assert (report["runs"], [row["run"] for row in report["evaluations"]]) == ([], [str(tmp_path / "elsewhere")])


def test_prediction_is_listed_with_its_input(run_dir):
    path = write_evaluation(run_dir / "evaluations" / "now", run_dir, command="predict", input=["a.jpg", "b.jpg"])

    assert load_evaluation_info(path)["data"] == "['a.jpg', 'b.jpg']"


def test_newest_evaluations_are_shown(run_dir):
    for number in range(MAX_EVALUATIONS + 5):
        (run_dir / "evaluations" / f"{number:03}").mkdir(parents=True)
        (run_dir / "evaluations" / f"{number:03}" / "evaluation.json").write_text("{}")

    names = [path.name for path in list_evaluation_dirs(run_dir)]
    assert names == [f"{number:03}" for number in range(MAX_EVALUATIONS + 4, 4, -1)]


def test_links_out_of_the_run_are_not_followed(run_dir, tmp_path):
    secret = write_evaluation(tmp_path / "mine" / "now", run_dir)
    (run_dir / "evaluations").symlink_to(tmp_path / "mine")
    assert not list_evaluation_dirs(run_dir)
    (run_dir / "evaluations").unlink()
    (run_dir / "evaluations").mkdir()
    (run_dir / "evaluations" / "now").symlink_to(secret)
    assert not list_evaluation_dirs(run_dir)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"metrics": 3, "data": "x", "samples": {}}', f'{{"split": "{HOSTILE}"}}']
)
def test_corrupt_record_does_not_break_the_page(run_dir, tmp_path, text):
    path = write_evaluation(run_dir / "evaluations" / "now", run_dir)
    (path / "evaluation.json").write_text(text)
    page = render(collect_report([tmp_path]))

    assert HOSTILE not in page
