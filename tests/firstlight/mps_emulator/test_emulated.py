"""Run the tests in emulated/ where torch has an "mps" device: their names hide them from any other process."""

from pathlib import Path

import pytest

from support.emulated_mps import SLOW, run_in_emulator, select_slow_files

FILES = sorted((Path(__file__).parent / "emulated").glob("*.py"))


@pytest.mark.parametrize(
    ("files", "marked"),
    [
        pytest.param(FILES, "not slow", id="quick"),
        *(pytest.param([file], "slow", marks=SLOW, id=file.stem) for file in select_slow_files(FILES)),
    ],
)
def test_under_the_emulator(files, marked, tmp_path):
    run_in_emulator(files, marked, tmp_path)
