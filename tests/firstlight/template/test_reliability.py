"""docs/reliability.md promises nothing that no test holds."""

import re

from support.checkout import ROOT
from support.doc_commands import template_only


@template_only  # a project may have deleted a command and its tests
def test_every_row_of_the_table_has_its_tests():
    written = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    known = set(re.findall(r"^def (test_\w+)", written, re.MULTILINE))
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]

    assert len(rows) > 25
    assert all(named), "a row names no test"
    assert {name for each in named for name in each} <= known
