"""Text of users (class names, file names, commands) in Markdown, where none of it is markup."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from firstlight.run.redaction import redact_text
from firstlight.run.text import format_printable

MAX_LENGTH = 200
# With a backslash, Markdown shows each of these characters as it is.
MARKUP = re.compile(r"([\\`*_\[\](){}#|~!$])")
# HTML, mentions, and addresses that would become links.
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}
ENTITY_START = re.compile("|".join(map(re.escape, ENTITIES)), re.IGNORECASE)


def clean_text(value: Any, max_length: int | None = MAX_LENGTH) -> str:
    """Return a value as one line of printable text, without secrets and without the path of the home directory."""
    return format_printable(hide_home(redact_text(str(value))), max_length)


def hide_home(text: str) -> str:
    """Return a text with "~" in place of the path of the home directory."""
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=[/\\]|$)", "~", text) if len(home) > 1 else text


def escape_markdown(value: Any) -> str:
    """Return a value as Markdown that shows exactly its text."""
    text = MARKUP.sub(r"\\\1", clean_text(value))
    return ENTITY_START.sub(lambda match: ENTITIES[match.group().lower()], text)


def format_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table; the cells are escaped.

    Args:
        header: Names of the columns.
        rows: Cells by row. A row without a text in its last cell is left out.
    """
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows if row[-1] not in (None, "")]
    return "\n".join(lines)


def format_code_block(text: str, language: str = "") -> str:
    """Return a fenced code block; the fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
