"""MLflow's store of a resumed run, and stores that cannot be opened or written."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from firstlight.logger.mlflow_logger import ResumableMLFlowLogger
from firstlight.trainer.loggers import build_optional_loggers
from support.tracked_runs import read_mlflow, require

pytestmark = [
    pytest.mark.slow,
    require("mlflow"),
    pytest.mark.filterwarnings("ignore:.*noload"),
    # Of SQLAlchemy, which closes its connections late.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
TARGET = f"{ResumableMLFlowLogger.__module__}.{ResumableMLFlowLogger.__qualname__}"


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_metrics_after_the_checkpoint_are_not_logged_again(tmp_path):
    first = ResumableMLFlowLogger("run")
    for step in range(6):
        first.log_metrics({"loss": step, "rate@1": step}, step)
    first.log_metrics({"val": 0.25}, 3)
    second = ResumableMLFlowLogger("run", id=first.run_id)
    second.continue_at(3, [{"loss": 3, "rate@1": 3}])
    second.log_metrics({"val": 0.25}, 3)
    second.log_metrics({"loss": 3.5}, 3)  # logged after the checkpoint, under the name of an earlier metric
    for step in (4, 5, 6):
        second.log_metrics({"loss": step, "rate@1": step}, step)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"loggers": {"mlflow": second.run_info}}))

    loss = [(0, 0), (1, 1), (2, 2), (3, 3), (3, 3.5), (4, 4), (5, 5), (6, 6)]
    rate = [(step, step) for step in range(7)]
    assert read_mlflow(tmp_path / "run") == {"loss": loss, "rate1": rate, "val": [(3, 0.25)]}


def test_run_that_is_not_in_the_store_is_created(capsys):
    logger = ResumableMLFlowLogger("run", id="0" * 32)

    assert logger.run_id != "0" * 32
    expected = f"MLflow run {'0' * 32} is not in sqlite:///logs/mlflow.db. A new one is created.\n"
    assert capsys.readouterr().out == expected


def test_store_that_cannot_be_opened_does_not_end_the_run(tmp_path, capsys):
    (tmp_path / "file").touch()
    node = {"_target_": TARGET, "save_dir": "run", "tracking_uri": f"sqlite:///{tmp_path}/file/mlflow.db"}

    assert build_optional_loggers({"logger": {"mlflow": node}}) == []
    assert capsys.readouterr().out.startswith("Warning: logger.mlflow failed (ConnectionError: sqlite:///")


def test_store_that_disappears_does_not_end_the_run(capsys):
    (logger,) = build_optional_loggers({"logger": {"mlflow": {"_target_": TARGET, "save_dir": "run"}}})
    os.truncate("logs/mlflow.db", 0)
    shutil.rmtree("logs")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"loss": 1.0}, 1)
    logger.finalize("success")
    logger._end(0)

    assert capsys.readouterr().out.count("Warning: logger.mlflow failed (") == 1


def test_server_that_does_not_answer_delays_the_run_by_seconds(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the default of the logger is 10
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        assert (
            build_optional_loggers({"logger": {"mlflow": {"_target_": TARGET, "save_dir": "run", "tracking_uri": uri}}})
            == []
        )

    assert time.monotonic() - started < 30  # two attempts of a second, on a busy machine
    assert capsys.readouterr().out.startswith(f"Warning: logger.mlflow failed (ConnectionError: {uri}: ")


@pytest.mark.exhaustive
def test_jobs_create_one_store():
    code = (
        f"from {ResumableMLFlowLogger.__module__} import *; ResumableMLFlowLogger('run').log_metrics({{'loss': 1}}, 0)"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]

    assert [job.wait(timeout=300) for job in jobs] == [0, 0, 0, 0]
    assert not os.path.exists("logs/mlflow.db.lock")


@pytest.mark.exhaustive
def test_usage_statistics_are_off():
    code = f"from {ResumableMLFlowLogger.__module__} import *; ResumableMLFlowLogger('run')"
    check = "from mlflow.telemetry.client import get_telemetry_client; print(get_telemetry_client())"
    # MLflow also switches them off if it recognizes a test or a continuous integration.
    recognized = ("MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in recognized}
    command = [sys.executable, "-c", f"{code}; {check}"]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert output == "None\n"
