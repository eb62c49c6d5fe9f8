"""Run the tests in emulated/ in a process whose torch has an "mps" device; pytest does not collect them otherwise."""

from pathlib import Path

import pytest

from support.emulated_mps import SLOW, run_in_emulator, select_slow_files

FILES = sorted((Path(__file__).parent / "emulated").glob("*.py"))


@pytest.mark.parametrize(
    ("files", "marker"),
    [
        pytest.param(FILES, "not slow", marks=SLOW, id="all"),
        *(pytest.param([file], "slow", marks=SLOW, id=file.stem) for file in select_slow_files(FILES)),
    ],
)
def test_files_pass_in_emulator(files, marker, tmp_path):
    run_in_emulator(files, marker, tmp_path)
