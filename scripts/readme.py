"""The first lines of a project's README. Standard library only."""

from __future__ import annotations

import re

PLACEHOLDER = "What this project trains, on which data, and how well: fill in one sentence."


def head(text: str, name: str) -> str:
    """Return README under a title and one sentence of its own: what came before its first commands told of the template."""
    begin = re.search(r"^(```|## )", text, re.MULTILINE)
    rest = text[begin.start() :] if begin else ""
    return f"# {name}\n\n{PLACEHOLDER}\n\n{rest}"
