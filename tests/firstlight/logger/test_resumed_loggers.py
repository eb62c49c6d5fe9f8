"""TensorBoard and MLflow contain each step of a stopped, killed and resumed run once, as metrics.csv does."""

import json
import sqlite3

import pytest
import torch

from support.tracked_runs import (
    count_points,
    drop_speed,
    list_mlflow_artifacts,
    load_weights,
    open_mlflow,
    open_tensorboard,
    read_csv,
    read_mlflow,
    read_tensorboard,
    read_tensorboard_server,
    require,
    train,
)

pytestmark = [pytest.mark.slow, require("tensorboard"), require("mlflow")]

# Three epochs of four steps.
RUN = ["output_dir=run", "trainer.max_epochs=3"]
SECRET = "hunter2-Xk39-secret"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """Return a run that was stopped in its second epoch, killed two steps after its last checkpoint, and resumed.

    Also return what MLflow contained after each attempt, and the status of its run.
    """
    directory = tmp_path_factory.mktemp("tracked")
    labels = [f"tags=[first,'password={SECRET}']", f"name='token={SECRET}'"]
    attempts = [
        ([*RUN, "logger=[tensorboard,mlflow]", *labels], 143, "step==6:SIGTERM"),
        (["resume=run"], -9, "step==10:SIGKILL"),
        (["resume=run", "name=second"], 0, ""),
    ]
    stored = []
    for overrides, exit_code, fault in attempts:
        train(directory, *overrides, exit_code=exit_code, FAULT=fault, SERVICE_TOKEN=SECRET)
        stored.append((read_mlflow(directory / "run"), open_mlflow(directory / "run")[1].info.status))
    return directory / "run", stored


@pytest.fixture
def run_dir(tracked):
    return tracked[0]


def test_each_step_stands_once(run_dir):
    expected, in_mlflow = read_csv(run_dir), read_mlflow(run_dir)

    assert [step for step, _ in expected["train/loss"]] == list(range(12))
    assert [step for step, _ in expected["val/loss"]] == [3, 7, 11]
    assert read_tensorboard(run_dir) == expected
    assert read_tensorboard_server(run_dir) == expected
    assert drop_speed(in_mlflow) == drop_speed(expected)
    assert count_points(in_mlflow) == count_points(expected)


def test_killed_attempt_had_logged_steps_after_its_checkpoint(tracked):
    curves = [curves for curves, _ in tracked[1]]

    assert [step for step, _ in curves[1]["train/loss"]] == list(range(10))
    # The last checkpoint is that of the second epoch.
    assert [step for step, _ in curves[2]["train/loss"]] == list(range(12))


def test_status_in_mlflow_is_that_of_the_run(tracked):
    # Nobody can record the end of a killed run.
    assert [status for _, status in tracked[1]] == ["FAILED", "RUNNING", "FINISHED"]


def test_loggers_do_not_change_the_training(run_dir, tmp_path):
    train(tmp_path, *RUN, "logger=none")
    expected, found = load_weights(tmp_path / "run"), load_weights(run_dir)

    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_images_and_tables_arrive_once(run_dir):
    events = open_tensorboard(run_dir)
    images = {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}
    tables = [tag for tag in events.Tags()["tensors"] if tag.endswith("/text_summary")]
    samples = [f"test/predictions/{index}" for index in range(4)]

    assert images == {"train/first_batch": [0]} | {tag: [12] for tag in ["test/confusion_matrix", *samples]}
    assert sorted(tables) == ["test/classes/text_summary", "test/predictions/text_summary"]
    assert list_mlflow_artifacts(run_dir) == [
        "test/classes.json",
        "test/confusion_matrix.png",
        "test/predictions.json",
        *(f"{tag}.png" for tag in samples),
        "train/first_batch.png",
    ]


def test_hyperparameters_arrive(run_dir):
    events = open_tensorboard(run_dir)
    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    data = open_mlflow(run_dir)[1].data

    assert b"optimizer/lr" in session
    assert b"data/batch_size" in session
    assert (data.params["data/batch_size"], data.params["trainer/max_epochs"]) == ("4", "3")
    # Parameters of MLflow cannot change: the value of the resumed run is a tag.
    assert (data.params["name"], data.tags["name"]) == ("token=***", "second")


def test_no_secret_is_stored(run_dir):
    tags = open_mlflow(run_dir)[1].data.tags
    files = [path for path in run_dir.parent.rglob("*") if path.is_file() and path.name != ".lock"]

    assert tags["first"] == "true"
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []


def test_run_record_locates_both(run_dir):
    loggers = json.loads((run_dir / "run.json").read_text())["loggers"]
    database = sqlite3.connect(run_dir.parent / "logs" / "mlflow.db")

    assert loggers["tensorboard"] == {"path": "run/tensorboard"}
    assert (loggers["mlflow"]["tracking_uri"], loggers["mlflow"]["url"]) == ("sqlite:///logs/mlflow.db", None)
    assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(loggers["mlflow"]["id"],)]
