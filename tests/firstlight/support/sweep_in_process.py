"""Run sweeps over the smallest training runs in this process."""

import signal
import sys

import pytest

from firstlight.sweep import __main__ as sweep


def make_sweep_runner(monkeypatch, tmp_path, capsys, *common_overrides):
    """Return a function that runs a sweep in this process, and returns its exit code and its output.

    `common_overrides` are prepended to the overrides of each call.
    """
    monkeypatch.chdir(tmp_path)

    def run_sweep(*overrides: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *common_overrides, *overrides])
        with pytest.raises(SystemExit) as stop:
            sweep.main()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = capsys.readouterr()
        return stop.value.code, output.out + output.err

    return run_sweep
