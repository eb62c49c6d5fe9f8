"""A job of a Slurm sweep is requeued at its time limit, whatever a library makes of the stop signal."""

import json
import os
import signal

import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from firstlight.sweep.launcher import submitit
from firstlight.sweep.launcher.slurm import SlurmLauncher

base = pytest.importorskip(
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher", reason="the extra launchers is not installed"
)
ARGUMENTS = ([], "hydra.sweep.dir", 0, "0", {})


@pytest.fixture
def requeued(monkeypatch):
    """Return the signals after which submitit was asked to requeue the job."""
    received = []
    monkeypatch.setattr(submitit, "setup_worker_process", lambda sweep_pid: None)
    monkeypatch.setattr("sys.stdout", submitit.sys.stdout)
    monkeypatch.setattr("sys.stderr", submitit.sys.stderr)
    previous = signal.signal(signal.SIGUSR2, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGUSR2, previous)


def make_launcher(sweep_dir):
    launcher = SlurmLauncher()
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep_dir)}}})
    return launcher


@pytest.mark.parametrize(("status", "is_requeued"), [("interrupted", True), ("failed", True), ("finished", False)])
def test_job_that_returns_after_signal_is_requeued_unless_finished(
    tmp_path, monkeypatch, requeued, status, is_requeued
):
    run_dir = tmp_path / "0_seed-1"
    run_dir.mkdir()
    (run_dir / "run.json").write_text(json.dumps({"status": status}))
    result = JobReturn()

    def run_job(self, *arguments):
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        except SystemExit:
            return result  # as after a library has replaced it by an error, which the job reports

    monkeypatch.setattr(base.BaseSubmititLauncher, "__call__", run_job)
    returned = make_launcher(tmp_path)(*ARGUMENTS)

    assert requeued == [signal.SIGUSR2] * is_requeued
    assert (returned is result) is not is_requeued


def test_job_stopped_otherwise_is_not_requeued(tmp_path, monkeypatch, requeued):
    def run_job(self, *arguments):
        raise SystemExit(143)

    monkeypatch.setattr(base.BaseSubmititLauncher, "__call__", run_job)
    with pytest.raises(SystemExit):
        make_launcher(tmp_path)(*ARGUMENTS)

    assert requeued == []
