"""Sweeps on a real Slurm cluster, which the tests start on this machine."""

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
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(slurm.find_missing_programs()), reason=slurm.find_missing_programs()),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start Slurm, and return the environment variable that its commands need."""
    with slurm.start_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {"SLURM_CONF": environment["SLURM_CONF"]}


def run_slurm_command(cluster, *command: str) -> str:
    return slurm.run_command({**os.environ, **cluster}, *command)


def start_requeued_jobs(cluster) -> None:
    """Start requeued jobs at once, which Slurm otherwise delays by two minutes."""
    queue = run_slurm_command(cluster, "squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r")
    for line in queue.splitlines():
        if line.endswith("BeginTime"):
            run_slurm_command(cluster, "scontrol", "update", f"jobid={line.split()[0]}", "StartTime=now")


def read_job_output(sweep_dir) -> str:
    return "".join(file.read_text() for file in (sweep_dir / ".submitit").rglob("*_log.*"))


def remove_throughput(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("speed/")}


def test_slurm_runs_jobs_in_parallel_and_lists_failed_job(cluster, tmp_path):
    overrides = ["launcher=slurm", "launcher.max_parallel_jobs=2", "launcher.timeout_min=10"]
    overrides += ["trainer.max_epochs=1,3,2,1"]
    code, output, sweep_dir = run_sweep(tmp_path, *overrides, **cluster, FAULT="epochs>2:too long")

    assert code == 1
    assert read_statuses(sweep_dir) == ["finished", "failed", "finished", "finished"]
    assert [line.split()[2].partition("_")[2] for line in output.splitlines() if line.startswith("job ")] == [*"0123"]
    assert "Warning" not in read_job_output(sweep_dir)
    (script,) = (sweep_dir / ".submitit").glob("*/*_submission.sh")
    assert "export SLURM_KILL_BAD_EXIT=1" in script.read_text()
    assert "--mem" not in script.read_text()


def test_slurm_job_on_two_devices_is_one_run(cluster, tmp_path):
    overrides = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "seed=1"]
    overrides += ["launcher=slurm", "launcher.tasks_per_node=2", "launcher.timeout_min=10"]
    code, output, sweep_dir = run_sweep(tmp_path, *overrides, **cluster)
    (run_dir,) = sweep_dir.glob("0*")
    record = json.loads((run_dir / "run.json").read_text())

    assert code == 0, output
    assert (record["status"], record["devices"]) == ("finished", 2)
    assert (run_dir / "output.log").read_text().count("epoch 1/1") == 1
    assert list((tmp_path / "logs").iterdir()) == [tmp_path / "logs" / "sweep"]


def test_slurm_job_requeued_at_time_limit_gives_identical_results(cluster, tmp_path):
    # Slurm checks time limits every 30 s: the signal arrives 60 to 90 s after the start, and all steps take 92 s.
    overrides = ["trainer.max_epochs=46", "seed=1"]
    limits = ["launcher=slurm", "launcher.timeout_min=2", "launcher.signal_delay_s=60"]
    process = start_sweep(tmp_path / "limited", *limits, *overrides, **cluster, STEP_SECONDS="0.5")
    while process.poll() is None:
        start_requeued_jobs(cluster)
        time.sleep(1)
    code, _, undisturbed_dir = run_sweep(tmp_path / "undisturbed", *overrides)
    run_dirs = [next(sweep_dir.glob("0*")) for sweep_dir in (find_sweep_dir(tmp_path / "limited"), undisturbed_dir)]
    record, expected = (json.loads((run_dir / "run.json").read_text()) for run_dir in run_dirs)
    weights, expected_weights = (
        torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run_dir in run_dirs
    )

    assert (process.returncode, code) == (0, 0), process.stdout.read() + read_job_output(run_dirs[0].parent)
    assert [attempt["status"] for attempt in record["attempts"]][-2:] == ["interrupted", "finished"]
    assert len(expected["attempts"]) == 1
    assert remove_throughput(record["metrics"]) == remove_throughput(expected["metrics"])
    assert all(torch.equal(weights[key], expected_weights[key]) for key in expected_weights)


def test_slurm_jobs_survive_ctrl_c_and_stop_on_scancel(cluster, tmp_path):
    overrides = ["launcher=slurm", "launcher.timeout_min=10", "trainer.max_epochs=500", "seed=1,2"]
    first = start_sweep(tmp_path, *overrides, **cluster, STEP_SECONDS="0.2")
    wait_until(lambda: len(list(tmp_path.rglob("last.ckpt"))) == 2)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=60)
    sweep_dir = find_sweep_dir(tmp_path)
    ids = run_slurm_command(cluster, "squeue", "--noheader", "--array", "--format=%i").split()

    assert first.returncode == 130
    assert "The jobs keep running in Slurm. List them with `squeue --me`" in output
    assert read_statuses(sweep_dir) == ["running", "running"]
    assert len(ids) == 2

    second = start_sweep(tmp_path, *overrides, **cluster)
    while not second.stdout.readline().startswith("job 1"):
        pass
    run_slurm_command(cluster, "scancel", *ids)
    second.communicate(timeout=60)

    assert second.returncode == 1
    assert read_statuses(sweep_dir) == ["interrupted", "interrupted"]
    assert json.loads((sweep_dir / "0_seed-1" / "run.json").read_text())["reason"] == "stopped by SIGTERM"
    assert len(list((sweep_dir / ".submitit").glob("*/*_submission.sh"))) == 1  # No job was submitted twice.
