"""W&B runs on a local server: the data that a run sends, and no loss of data if the server is unreachable."""

import csv
import re
import signal
import time

import pytest

from firstlight.run_data.collect import collect_report
from support.wandb_server import (
    OPENWANDB_PYTHON,
    SKIP_REASON,
    Client,
    Server,
    find_free_port,
    make_python_args,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not OPENWANDB_PYTHON.is_file(), reason=SKIP_REASON)]

# Three epochs of four steps. The progress bar is off, because it cannot resume in mid-epoch.
LONG_RUN = ["output_dir=run", "trainer.max_epochs=3"]
MODEL_ARTIFACTS = "SELECT name FROM artifacts WHERE run_id = ? AND artifact_type = 'model'"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server, tmp_path):
    return Client(tmp_path, server.port)


def make_fault(number: signal.Signals) -> dict[str, str]:
    """Return the environment variable that sends a signal to a training run in the middle of its second epoch."""
    return {"FAULT": f"step==6:{number.name}"}


def load_run_info(client: Client, run_dir: str) -> dict:
    """Return the W&B fields of run.json."""
    return client.load_record(run_dir)["loggers"]["wandb"]


def check_all_steps_arrived(server: Server, run_id: str) -> None:
    """Check that the server has all steps of a run that was stopped in mid-epoch."""
    steps = server.load_steps(run_id)

    # Lightning repeats the batch in which the run was stopped.
    assert steps == list(range(len(steps)))
    assert len(steps) in (12, 13)
    assert len(server.load_steps(run_id, "val/accuracy")) == 3


def test_online_run_sends_all_data(server, client):
    output = client.train("output_dir=run", "name=first", "group=many", "tags=[a,b]", "trainer.max_epochs=2")
    info = load_run_info(client, "run")
    run = server.load_runs()[info["id"]]
    requests = server.load_requests("UpsertBucket")
    (request,) = [item for item in requests if item["name"] == info["id"] and item["groupName"]][:1]
    artifacts = server.query(MODEL_ARTIFACTS, info["id"])

    assert ("online", f"/runs/{info['id']}") == (info["mode"], info["url"][info["url"].index("/runs/") :])
    assert (client.directory / info["segment_dir"]).is_dir()
    assert (run["name"], run["state"], run["tags"]) == ("first", "finished", ["a", "b"])
    assert (request["groupName"], request["jobType"]) == ("many", "train")
    assert run["config"]["output_dir"]["value"] == "run"
    assert server.load_steps(info["id"]) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert server.load_steps(info["id"], "val/accuracy") == [3, 7]
    assert {f"checkpoint-{info['id']}"} == {row["name"] for row in artifacts}
    assert {"max", "last"} == set(run["summary"]["val/accuracy"])
    assert {"min", "last"} == set(run["summary"]["val/loss"])
    assert not re.search("^wandb: ", output, re.MULTILINE), output


def test_interrupted_run_resumes_as_same_wandb_run(server, client):
    client.train(*LONG_RUN, exit_code=143, **make_fault(signal.SIGTERM))
    run_id = load_run_info(client, "run")["id"]
    interrupted = server.load_runs()[run_id]
    output = client.train("resume=run")
    info = load_run_info(client, "run")

    assert interrupted["state"] == "failed"
    assert (run_id, "online", 2) == (info["id"], info["mode"], len(info["segment_dirs"])), output
    assert server.load_runs()[run_id]["state"] == "finished"
    check_all_steps_arrived(server, run_id)
    assert not re.search("^wandb: ", output, re.MULTILINE), output


def test_killed_run_resumes_as_same_wandb_run(server, client):
    client.train(*LONG_RUN, exit_code=-9, **make_fault(signal.SIGKILL))
    client.train("resume=run")
    info = load_run_info(client, "run")

    # The run resumes from the checkpoint of the first epoch. Data in the memory of the killed W&B client is lost.
    assert info["mode"] == "online"
    assert server.load_runs()[info["id"]]["state"] == "finished"
    assert set(range(4, 12)) <= set(server.load_steps(info["id"]))
    assert server.load_steps(info["id"], "val/accuracy")[-2:] == [7, 11]
    assert "Nothing to upload" in client.sync("runs=.")


@pytest.mark.exhaustive
def test_sweep_is_a_group_with_a_failed_run(server, client):
    overrides = ["data.batch_size=2,3,4,5,6,16", "callbacks.checkpoint_artifacts=null", "seed=3"]
    client.run(*make_python_args(*overrides, name="sweep"), exit_code=1, FAULT="batch>8:too large")
    (sweep_dir,) = (client.directory / "logs" / "sweep").iterdir()
    with (sweep_dir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    ids = [load_run_info(client, row["run_dir"])["id"] for row in rows]
    runs = [server.load_runs()[run_id] for run_id in ids]
    requests = server.load_requests("UpsertBucket")
    groups = {request["name"]: request["groupName"] for request in requests if request["groupName"]}

    assert len(set(ids)) == 6
    assert [*5 * ["finished"], "failed"] == [run["state"] for run in runs]
    assert [row["status"] for row in rows] == [run["state"] for run in runs]
    assert {sweep_dir.name} == {groups[run_id] for run_id in ids}
    for row, run in zip(rows[:5], runs[:5], strict=True):
        assert float(row["test/accuracy"]) == run["summary"]["test/accuracy"]

    # The HTML report shows the same results.
    reported = sorted(collect_report([sweep_dir]).report["runs"], key=lambda run: int(run["name"].split("_")[0]))
    assert [row["status"] for row in rows] == [run["status"] for run in reported]
    assert "RuntimeError: too large" == reported[5]["reason"] == rows[5]["reason"]
    for row, run in zip(rows[:5], reported[:5], strict=True):
        assert float(row["test/accuracy"]) == run["metrics"]["test/accuracy"]


def test_wandb_server_failure_loses_no_data(request, tmp_path):
    server = Server(tmp_path / "server")
    request.addfinalizer(server.kill)
    server.start()
    client = Client(tmp_path / "client", server.port)
    overrides = ["output_dir=run", "trainer.max_epochs=15", "callbacks.checkpoint_artifacts=null"]
    process = client.start(*make_python_args(*overrides), STEP_SECONDS="0.5")
    first_step = "SELECT * FROM metrics WHERE key = 'train/loss'"
    wait_until(lambda: server.query(first_step), "the server has received the first step")
    server.kill()
    out, err = process.communicate(timeout=300)
    run_id = load_run_info(client, "run")["id"]
    num_received = len(server.load_steps(run_id))

    assert process.returncode == 0, out + err
    assert client.load_record("run")["status"] == "finished"
    assert "Run `make wandb-sync` to upload the rest." in out
    assert num_received < 60

    server.start()
    output = client.sync("runs=run")
    assert f"/runs/{run_id}" in output
    assert list(range(60)) == server.load_steps(run_id)
    assert server.load_runs()[run_id]["state"] == "finished"
    assert "Nothing to upload" in client.sync("runs=.")


def measure_startup(client: Client, run_dir: str, **variables: str) -> tuple[float, str]:
    """Return the seconds from the start of the process to the W&B line of the run header, and that line."""
    started = time.monotonic()
    process = client.start(*make_python_args(f"output_dir={run_dir}"), **variables)
    line = next(line for line in process.stdout if line.startswith("wandb "))
    seconds = time.monotonic() - started
    out, err = process.communicate(timeout=300)

    assert process.returncode == 0, out + err
    return seconds, line


def test_unreachable_wandb_server_delays_start_by_seconds(tmp_path):
    client = Client(tmp_path, find_free_port())
    offline_s, _ = measure_startup(client, "offline", WANDB_MODE="offline")
    unreachable_s, line = measure_startup(client, "unreachable", WANDB_INIT_TIMEOUT="6")
    print(f"{offline_s:.1f} s offline, {unreachable_s:.1f} s with an unreachable server")

    assert re.match(r"wandb +offline, W&B not reachable \(.+\)$", line)
    assert unreachable_s - offline_s < 15
    assert load_run_info(client, "unreachable")["mode"] == "offline"
    assert "pending" in client.sync("runs=.", "dry_run=true")


def test_segments_of_offline_run_are_uploaded_as_one_run(server, client):
    client.train(*LONG_RUN, exit_code=143, WANDB_MODE="offline", **make_fault(signal.SIGTERM))
    client.train("resume=run", WANDB_MODE="offline")
    info = load_run_info(client, "run")
    pending = client.sync("dry_run=true", "runs=.")
    no_key = {"WANDB_API_KEY": "", "NETRC": str(client.directory / "none"), "HOME": str(client.directory)}
    rejected = client.sync("runs=.", exit_code=2, **no_key)
    output = client.sync("runs=.")
    artifacts = server.query(MODEL_ARTIFACTS, info["id"])

    assert len(info["segment_dirs"]) == 2
    assert re.search(r"^pending +run +\(2 segments\)$", pending, re.MULTILINE)
    assert "No W&B API key found. Run `wandb login` first." in rejected
    assert re.search(rf"^uploaded +run +http.*/runs/{info['id']}$", output, re.MULTILINE)
    check_all_steps_arrived(server, info["id"])
    assert {f"checkpoint-{info['id']}"} == {row["name"] for row in artifacts}
    assert "Nothing to upload" in client.sync("runs=.")
