"""Changed run directories in every command: nothing outside of the run is touched, no traceback, nothing blocks."""

import subprocess
import sys

import pytest

from support import foreign_runs


def run_cases(count, first):
    """Run cases in a process of their own, because a process that has trained should not fork."""
    command = [sys.executable, foreign_runs.__file__, str(count), str(first)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.stdout.endswith(f"{count} cases, 0 failed\n"), process.stdout + process.stderr


@pytest.mark.slow
def test_changed_runs_touch_nothing_outside():
    run_cases(50, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_many_changed_runs_touch_nothing_outside(first):
    run_cases(100, first)
