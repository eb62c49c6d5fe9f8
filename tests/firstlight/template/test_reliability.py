"""Each row of the tables in docs/reliability.md names existing tests."""

import re

from support.checkout import ROOT
from support.doc_commands import template_only


@template_only  # A project may have deleted a command and its tests.
def test_every_row_names_existing_tests():
    sources = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    known = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    lines = (ROOT / "docs/reliability.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| Failure |")]
    names = [re.findall(r"`(test_\w+)`", row) for row in rows]

    assert len(rows) > 25
    assert all(names), "a row names no test"
    assert {name for row in names for name in row} <= known
