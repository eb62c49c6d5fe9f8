"""Sweeps on a real Slurm, which each test run starts on this machine."""

import json
import os
import signal
import time

import pytest
import torch

from support import slurm
from support.sweep_process import find_sweep_dir, read_statuses, run_sweep, start_sweep, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm.find_missing_programs()), reason=slurm.find_missing_programs()),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start Slurm; return the variable by which its commands find it."""
    with slurm.start_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {"SLURM_CONF": environment["SLURM_CONF"]}


def told(cluster, *command: str) -> str:
    return slurm.run_command({**os.environ, **cluster}, *command)


def hurry(cluster) -> None:
    """Start jobs that were queued again at once: Slurm lets them wait for two minutes."""
    for line in told(cluster, "squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r").splitlines():
        if line.endswith("BeginTime"):
            told(cluster, "scontrol", "update", f"jobid={line.split()[0]}", "StartTime=now")


def test_four_jobs_two_at_once_with_a_failing_one(cluster, tmp_path):
    words = ["launcher=slurm", "launcher.max_parallel_jobs=2", "launcher.timeout_min=10", "trainer.max_epochs=1,3,2,1"]
    code, output, folder = run_sweep(tmp_path, *words, **cluster, FAULT="epochs>2:too long")

    assert code == 1
    assert read_statuses(folder) == ["finished", "failed", "finished", "finished"]
    assert [line.split()[2].partition("_")[2] for line in output.splitlines() if line.startswith("job ")] == [*"0123"]
    printed = "".join(file.read_text() for file in (folder / ".submitit").rglob("*_log.*"))
    assert "Warning" not in printed
    (script,) = (folder / ".submitit").glob("*/*_submission.sh")
    assert "export SLURM_KILL_BAD_EXIT=1" in script.read_text()
    assert "--mem" not in script.read_text()


def test_a_job_on_two_devices_is_one_run_of_two_tasks(cluster, tmp_path):
    several = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "launcher=slurm",
        "launcher.tasks_per_node=2",
    ]
    code, output, folder = run_sweep(tmp_path, *several, "launcher.timeout_min=10", "seed=1", **cluster)
    (run,) = folder.glob("0*")
    record = json.loads((run / "run.json").read_text())

    assert code == 0, output
    assert (record["status"], record["devices"]) == ("finished", 2)
    assert (run / "output.log").read_text().count("epoch 1/1") == 1
    assert list((tmp_path / "logs").iterdir()) == [tmp_path / "logs" / "sweep"]


def test_a_job_that_reaches_its_time_limit_ends_as_if_it_had_not(cluster, tmp_path):
    # Slurm looks at the limits each 30 s: the signal comes 60 to 90 s after the start, the steps take 92 s in all.
    words = ["trainer.max_epochs=46", "seed=1"]
    limits = ["launcher=slurm", "launcher.timeout_min=2", "launcher.signal_delay_s=60"]
    process = start_sweep(tmp_path / "limited", *limits, *words, **cluster, STEP_SECONDS="0.5")
    while process.poll() is None:
        hurry(cluster)
        time.sleep(1)
    code, _, undisturbed = run_sweep(tmp_path / "undisturbed", *words)
    (folder,) = find_sweep_dir(tmp_path / "limited").glob("0*")
    (other,) = undisturbed.glob("0*")
    record, expected = (json.loads((each / "run.json").read_text()) for each in (folder, other))
    weights, others = (
        torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in (folder, other)
    )

    assert (process.returncode, code) == (0, 0)
    assert [each["status"] for each in record["attempts"]][-2:] == ["interrupted", "finished"]
    assert len(expected["attempts"]) == 1
    assert without_speed(record["metrics"]) == without_speed(expected["metrics"])
    assert all(torch.equal(weights[key], others[key]) for key in others)


def without_speed(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("speed/")}


def test_jobs_outlive_the_waiting_and_end_by_scancel(cluster, tmp_path):
    words = ["launcher=slurm", "launcher.timeout_min=10", "trainer.max_epochs=500", "seed=1,2"]
    first = start_sweep(tmp_path, *words, **cluster, STEP_SECONDS="0.2")
    wait_until(lambda: len(list(tmp_path.rglob("last.ckpt"))) == 2)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=60)
    folder = find_sweep_dir(tmp_path)
    ids = told(cluster, "squeue", "--noheader", "--array", "--format=%i").split()

    assert first.returncode == 130
    assert "the jobs stay in Slurm's queue: `squeue --me` lists them" in output
    assert read_statuses(folder) == ["running", "running"]
    assert len(ids) == 2

    again = start_sweep(tmp_path, *words, **cluster)
    while not again.stdout.readline().startswith("job 1"):
        pass
    told(cluster, "scancel", *ids)
    again.communicate(timeout=60)

    assert again.returncode == 1
    assert read_statuses(folder) == ["interrupted", "interrupted"]
    assert json.loads((folder / "0_seed-1" / "run.json").read_text())["reason"] == "stopped by SIGTERM"
    assert len(list((folder / ".submitit").glob("*/*_submission.sh"))) == 1  # nothing was submitted twice
