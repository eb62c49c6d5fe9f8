"""docs/reliability.md promises nothing that no test holds; trainings killed at random moments."""

import re
import subprocess
import sys

import pytest

from support.checkout import ROOT
from support.typed import template_only


@template_only  # a project may have deleted a command and its tests
def test_every_row_of_the_table_has_its_tests():
    written = "\n".join(file.read_text() for file in (ROOT / "tests/firstlight").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", written, re.MULTILINE))
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]

    assert len(rows) > 25
    assert all(named), "a row names no test"
    assert {name for each in named for name in each} <= known


@pytest.mark.slow
def test_killed_at_random_moments():
    """Six of the 100 trials; `tests/firstlight/support/kill_trials.py 100` runs them all."""
    script = [sys.executable, str(ROOT / "tests/firstlight/support/kill_trials.py"), "6"]
    told = subprocess.run(script, capture_output=True, text=True, timeout=600, cwd=ROOT)

    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("ended as undisturbed") == 6
