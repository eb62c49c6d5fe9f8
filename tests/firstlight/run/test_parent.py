"""A job of a sweep ends when the sweep has ended."""

import os
import subprocess
import sys

import pytest

from firstlight.run import parent

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# The job ignores SIGTERM, as a process does that waits for a lock in C.
JOB = """
import os, signal, sys, time
from firstlight.run import parent

signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent.POLL_INTERVAL_S = 0.05
parent.SAVE_TIMEOUT_S = float(sys.argv[2])
if sys.argv[3] == "idle":
    parent.is_idle.set()
if sys.argv[1]:
    os.environ[parent.SWEEP_PID_VARIABLE] = sys.argv[1]
parent.stop_with_sweep_of_environment()
print(parent.SWEEP_PID_VARIABLE in os.environ, flush=True)
time.sleep(60 if sys.argv[1] else 0)
"""


@pytest.mark.parametrize(("save_timeout_s", "state"), [("60", "idle"), ("0.1", "busy")])
def test_job_ends_with_its_sweep(save_timeout_s, state):
    sweep = subprocess.Popen(SLEEP)
    command = [sys.executable, "-c", JOB, str(sweep.pid), save_timeout_s, state]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    is_inherited = job.stdout.readline()
    is_running = job.poll() is None
    sweep.kill()
    sweep.wait()

    assert (is_inherited, is_running) == ("False\n", True)
    assert job.wait(timeout=20) == 143


def test_command_without_sweep_is_not_watched():
    assert subprocess.run([sys.executable, "-c", JOB, "", "0", "idle"], capture_output=True).returncode == 0


def test_is_alive():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert parent.is_alive(os.getpid())
    assert parent.is_alive(1)  # also a process of another user
    assert not parent.is_alive(ended.pid)
