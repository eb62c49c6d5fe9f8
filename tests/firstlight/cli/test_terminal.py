"""A terminal that is closed under a training, as when a connection by ssh is lost."""

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


def record(folder):
    return json.loads((folder / "run.json").read_text())


def typed(folder, words):
    """Start a command in a terminal; return both."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.environ["STEP_SECONDS"] = "0.1"
        os.execvp(words[0], words)
    return process, terminal


def close_after_an_epoch(folder, terminal):
    """Read what the terminal shows, which would fill up else, until there is a checkpoint."""
    until = time.monotonic() + 120
    while not list(folder.rglob("checkpoints/last.ckpt")) and time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            with suppress(OSError):  # `nohup` has let go of it
                os.read(terminal, 1000)
    os.close(terminal)


@pytest.mark.slow
def test_a_terminal_that_is_closed_saves_and_stops(tmp_path):
    process, terminal = typed(tmp_path, make_command("train", "output_dir=run", "trainer.max_epochs=500"))
    close_after_an_epoch(tmp_path, terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert record(tmp_path / "run")["status"] == "interrupted"
    assert record(tmp_path / "run")["reason"] == "stopped by SIGHUP"
    assert "saved; go on by `make train resume=run`" in (tmp_path / "run" / "output.log").read_text()


@pytest.mark.slow
def test_with_nohup_a_closed_terminal_stops_nothing(tmp_path):
    process, terminal = typed(tmp_path, ["nohup", *make_command("train", "output_dir=run", "trainer.max_epochs=20")])
    close_after_an_epoch(tmp_path, terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert record(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize(("before", "after"), [(signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, print)])
def test_what_nohup_ignores_stays_ignored(before, after):
    was = signal.signal(signal.SIGHUP, before)
    try:
        install_signal_handler([signal.SIGHUP], print)
        assert signal.getsignal(signal.SIGHUP) == after
    finally:
        signal.signal(signal.SIGHUP, was)
