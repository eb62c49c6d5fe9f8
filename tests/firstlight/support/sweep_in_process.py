"""Sweeps over the smallest trainings in this process."""

import signal
import sys

import pytest

from firstlight.sweep import __main__ as sweep


def make_sweep_runner(monkeypatch, tmp_path, capsys, *always):
    """Return a function that sweeps in this process, and gives the exit code and what it told.

    `always` are words of each sweep, before those that it is called with.
    """
    monkeypatch.chdir(tmp_path)

    def typed(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *always, *words])
        with pytest.raises(SystemExit) as stop:
            sweep.main()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        told = capsys.readouterr()
        return stop.value.code, told.out + told.err

    return typed
