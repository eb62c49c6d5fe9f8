"""A terminal that is closed during training, for example because an SSH connection is lost."""

import json
import os
import pty
import select
import signal
import time
from contextlib import suppress

import pytest

from firstlight.run.signals import install_signal_handler
from support.tiny_training import make_command


def read_record(run_dir):
    """Return the contents of run.json."""
    return json.loads((run_dir / "run.json").read_text())


def start_in_terminal(directory, command):
    """Start a command in a pseudo-terminal; return the process ID and the file descriptor of the terminal."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(directory)
        os.environ["STEP_SECONDS"] = "0.1"
        os.execvp(command[0], command)
    return process, terminal


def close_after_first_checkpoint(directory, terminal):
    """Read the output, so that the buffer does not fill up, until there is a checkpoint; then close the terminal."""
    deadline = time.monotonic() + 120
    while not list(directory.rglob("checkpoints/last.ckpt")) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            with suppress(OSError):  # `nohup` has closed the terminal.
                os.read(terminal, 1000)
    os.close(terminal)


@pytest.mark.slow
def test_closed_terminal_saves_and_stops(tmp_path):
    process, terminal = start_in_terminal(tmp_path, make_command("train", "output_dir=run", "trainer.max_epochs=500"))
    close_after_first_checkpoint(tmp_path, terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert read_record(tmp_path / "run")["status"] == "interrupted"
    assert read_record(tmp_path / "run")["reason"] == "stopped by SIGHUP"
    assert "Checkpoint saved. Resume with: make train resume=run" in (tmp_path / "run" / "output.log").read_text()


@pytest.mark.slow
def test_nohup_survives_closed_terminal(tmp_path):
    process, terminal = start_in_terminal(
        tmp_path, ["nohup", *make_command("train", "output_dir=run", "trainer.max_epochs=20")]
    )
    close_after_first_checkpoint(tmp_path, terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert read_record(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize(("before", "after"), [(signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, print)])
def test_signal_ignored_by_nohup_stays_ignored(before, after):
    previous = signal.signal(signal.SIGHUP, before)
    try:
        install_signal_handler([signal.SIGHUP], print)
        assert signal.getsignal(signal.SIGHUP) == after
    finally:
        signal.signal(signal.SIGHUP, previous)
