"""W&B against a server of its protocol: what a run sends, and that nothing is lost when the server is not there."""

import csv
import re
import signal
import time

import pytest

from support.wandb_server import MISSING, PYTHON, Client, Server, free_port, start_training, wait_until

# Skipped in a project that has deleted this command.
gather = pytest.importorskip("firstlight.report.collect").collect_report

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON.is_file(), reason=MISSING)]

# Three epochs of four steps. The progress bar is off: it cannot go on in the middle of an epoch.
LONG = ["output_dir=run", "trainer.max_epochs=3"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def client(server, tmp_path):
    return Client(tmp_path, server.port)


def stop_by(number: signal.Signals) -> dict[str, str]:
    """Return what stops a training in the middle of its second epoch."""
    return {"FAULT": f"step==6:{number.name}"}


def known(client: Client, folder: str) -> dict:
    """Return what run.json says of W&B."""
    return client.record(folder)["loggers"]["wandb"]


def require_no_gap(server: Server, run: str) -> None:
    """Hold a run that was stopped in the middle of an epoch against what it must have."""
    steps = server.steps(run)

    # Lightning repeats the batch that it was stopped in.
    assert steps == list(range(len(steps)))
    assert len(steps) in (12, 13)
    assert len(server.steps(run, "val/accuracy")) == 3


def test_an_online_run_is_all_there(server, client):
    words = ["output_dir=run", "name=first", "group=many", "tags=[a,b]", "trainer.max_epochs=2"]
    told = client.train(*words)
    facts = known(client, "run")
    run = server.runs()[facts["id"]]
    (asked,) = [each for each in server.sent("UpsertBucket") if each["name"] == facts["id"] and each["groupName"]][:1]
    artifacts = server.rows("SELECT name FROM artifacts WHERE run_id = ? AND artifact_type = 'model'", facts["id"])

    assert ("online", f"/runs/{facts['id']}") == (facts["mode"], facts["url"][facts["url"].index("/runs/") :])
    assert (client.folder / facts["folder"]).is_dir()
    assert (run["name"], run["state"], run["tags"]) == ("first", "finished", ["a", "b"])
    assert (asked["groupName"], asked["jobType"]) == ("many", "train")
    assert run["config"]["output_dir"]["value"] == "run"
    assert server.steps(facts["id"]) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert server.steps(facts["id"], "val/accuracy") == [3, 7]
    assert {f"checkpoint-{facts['id']}"} == {row["name"] for row in artifacts}
    assert {"max", "last"} == set(run["summary"]["val/accuracy"])
    assert {"min", "last"} == set(run["summary"]["val/loss"])
    assert not re.search("^wandb: ", told, re.MULTILINE), told


def test_an_interrupted_run_goes_on_as_the_same_run(server, client):
    client.train(*LONG, expected=143, **stop_by(signal.SIGTERM))
    name = known(client, "run")["id"]
    before = server.runs()[name]
    told = client.train("resume=run")
    facts = known(client, "run")

    assert before["state"] == "failed"
    assert (name, "online", 2) == (facts["id"], facts["mode"], len(facts["folders"])), told
    assert server.runs()[name]["state"] == "finished"
    require_no_gap(server, name)
    assert not re.search("^wandb: ", told, re.MULTILINE), told


def test_a_killed_run_goes_on_as_the_same_run(server, client):
    client.train(*LONG, expected=-9, **stop_by(signal.SIGKILL))
    client.train("resume=run")
    facts = known(client, "run")

    # From the checkpoint of the first epoch. What W&B's client held in memory when it was killed is gone.
    assert facts["mode"] == "online"
    assert server.runs()[facts["id"]]["state"] == "finished"
    assert set(range(4, 12)) <= set(server.steps(facts["id"]))
    assert server.steps(facts["id"], "val/accuracy")[-2:] == [7, 11]
    assert "nothing waits" in client.sync("runs=.")


def test_a_sweep_is_a_group_and_its_failure_a_failed_run(server, client):
    words = ["data.batch_size=2,3,4,5,6,16", "callbacks.checkpoint_artifacts=null", "seed=3"]
    client.run(*start_training(*words, name="sweep"), expected=1, FAULT="batch>8:too large")
    (folder,) = (client.folder / "logs" / "sweep").iterdir()
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    facts = [known(client, row["folder"]) for row in rows]
    runs = [server.runs()[each["id"]] for each in facts]
    groups = {each["name"]: each["groupName"] for each in server.sent("UpsertBucket") if each["groupName"]}

    assert len({each["id"] for each in facts}) == 6
    assert [*5 * ["finished"], "failed"] == [run["state"] for run in runs]
    assert [row["status"] for row in rows] == [run["state"] for run in runs]
    assert {folder.name} == {groups[each["id"]] for each in facts}
    for row, run in zip(rows[:5], runs[:5], strict=True):
        assert float(row["test/accuracy"]) == run["summary"]["test/accuracy"]

    # The page of it says the same.
    shown = sorted(gather([folder]).report["runs"], key=lambda run: int(run["name"].split("_")[0]))
    assert [row["status"] for row in rows] == [run["status"] for run in shown]
    assert "RuntimeError: too large" == shown[5]["reason"] == rows[5]["reason"]
    for row, run in zip(rows[:5], shown[:5], strict=True):
        assert float(row["test/accuracy"]) == run["metrics"]["test/accuracy"]


def test_a_server_that_dies_costs_nothing_but_an_upload(request, tmp_path):
    server = Server(tmp_path / "server")
    request.addfinalizer(server.kill)
    server.start()
    client = Client(tmp_path / "client", server.port)
    words = ["output_dir=run", "trainer.max_epochs=15", "callbacks.checkpoint_artifacts=null"]
    process = client.start(*start_training(*words), STEP_SECONDS="0.5")
    wait_until(lambda: server.rows("SELECT * FROM metrics WHERE key = 'train/loss'"), "the first step is at the server")
    server.kill()
    out, err = process.communicate(timeout=300)
    name = known(client, "run")["id"]
    arrived = len(server.steps(name))

    assert process.returncode == 0, out + err
    assert client.record("run")["status"] == "finished"
    assert "`make wandb-sync` uploads the rest" in out
    assert arrived < 60

    server.start()
    told = client.sync("runs=run")
    assert f"/runs/{name}" in told
    assert list(range(60)) == server.steps(name)
    assert server.runs()[name]["state"] == "finished"
    assert "nothing waits" in client.sync("runs=.")


def seconds_until_training(client: Client, folder: str, **variables: str) -> tuple[float, str]:
    """Return how long it takes from the start of the process to the start screen's line of W&B, and that line."""
    started = time.monotonic()
    process = client.start(*start_training(f"output_dir={folder}"), **variables)
    line = next(line for line in process.stdout if line.startswith("wandb "))
    seconds = time.monotonic() - started
    out, err = process.communicate(timeout=300)

    assert process.returncode == 0, out + err
    return seconds, line


def test_a_server_that_is_not_there_delays_a_training_by_seconds(tmp_path):
    client = Client(tmp_path, free_port())
    without, _ = seconds_until_training(client, "offline", WANDB_MODE="offline")
    seconds, line = seconds_until_training(client, "unreachable", WANDB_INIT_TIMEOUT="6")
    print(f"{without:.1f} s offline, {seconds:.1f} s with a server that is not there")

    assert re.match(r"wandb +offline, no answer from W&B \(.+\)$", line)
    assert seconds - without < 15
    assert known(client, "unreachable")["mode"] == "offline"
    assert "waits" in client.sync("runs=.", "dry_run=true")


def test_parts_of_an_offline_run_become_one_run_with_its_artifacts(server, client):
    client.train(*LONG, expected=143, WANDB_MODE="offline", **stop_by(signal.SIGTERM))
    client.train("resume=run", WANDB_MODE="offline")
    facts = known(client, "run")
    listed = client.sync("dry_run=true", "runs=.")
    none = client.sync(
        "runs=.", expected=1, WANDB_API_KEY="", NETRC=str(client.folder / "none"), HOME=str(client.folder)
    )
    told = client.sync("runs=.")
    artifacts = server.rows("SELECT name FROM artifacts WHERE run_id = ? AND artifact_type = 'model'", facts["id"])

    assert len(facts["folders"]) == 2
    assert re.search(r"^waits +run +\(2 parts\)$", listed, re.MULTILINE)
    assert "there is none: run `wandb login` first" in none
    assert re.search(rf"^uploaded +run +http.*/runs/{facts['id']}$", told, re.MULTILINE)
    require_no_gap(server, facts["id"])
    assert {f"checkpoint-{facts['id']}"} == {row["name"] for row in artifacts}
    assert "nothing waits" in client.sync("runs=.")
