"""Run the tests in emulated/ where torch has an "mps" device: their names hide them from any other process."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import emulator

FILES = sorted((Path(__file__).parent / "emulated").glob("*.py"))


@pytest.mark.parametrize(
    "marked", [pytest.param("not slow"), pytest.param("slow", marks=[pytest.mark.slow, pytest.mark.timeout(1500)])]
)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_under_the_emulator(file, marked, tmp_path):
    if reason := emulator.why_not():
        pytest.skip(reason)
    words = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--tb=short",
        "-m",
        marked,
        f"--basetemp={tmp_path / 'tests'}",
        str(file),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=emulator.environment(), capture_output=True, text=True
    )

    # 5: a file may have no slow tests.
    assert done.returncode in ((0, 5) if marked == "slow" else (0,)), done.stdout + done.stderr
