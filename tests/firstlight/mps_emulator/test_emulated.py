"""Run the tests in emulated/ where torch has an "mps" device: their names hide them from any other process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mps_emulator import emulator

FILES = sorted((Path(__file__).parent / "emulated").glob("*.py"))
# The others have no slow tests.
TRAININGS = [file for file in FILES if re.search("in_full|mark.slow", file.read_text())]
SLOW = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.mark.parametrize(
    ("files", "marked"),
    [
        pytest.param(FILES, "not slow", id="quick"),
        *(pytest.param([file], "slow", marks=SLOW, id=file.stem) for file in TRAININGS),
    ],
)
def test_under_the_emulator(files, marked, tmp_path):
    if reason := emulator.why_not():
        pytest.skip(reason)
    words = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-m", marked, f"--basetemp={tmp_path / 'tests'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *map(str, files)],
        env=emulator.environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
