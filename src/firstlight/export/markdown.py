"""Text of users (class names, file names, commands) in Markdown, where none of it is markup."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from firstlight.run.redaction import redact_text
from firstlight.run.text import format_printable

MAX_LENGTH = 200
# With a backslash, Markdown shows each of these characters as it is.
MARKUP = re.compile(r"([\\`*_\[\](){}#|~!$])")
# HTML, mentions, and addresses that would become links.
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}
ENTITY_START = re.compile("|".join(map(re.escape, ENTITIES)), re.IGNORECASE)

# An absolute path: /a/b, ~/a/b, C:\a\b or file:///a/b; in quotes, it may contain spaces.
START = r"(?:file://)?(?:~?/|[A-Za-z]:[/\\])(?=[\w.~@-])"
ABSOLUTE_PATH = re.compile(rf"(?<![^\s=:,;'\"(\[{{|]){START}[^\s=:,;'\"()\[\]{{}}|<>`]+")
QUOTED_PATH = re.compile(rf"(['\"])((?:[\w.+~@-]+[=:] ?)?)({START}[^'\"\n]*)\1")
# Text after which more than a path follows.
PATH_END = re.compile(r"(?<=..)[=:,;'\"()\[\]{}|<>`]|\s[-/~]")


def clean_text(value: Any, max_length: int | None = MAX_LENGTH) -> str:
    """Return a value as one line of printable text, without secrets and without directories of this machine."""
    return format_printable(shorten_paths(redact_text(str(value))), max_length)


def shorten_paths(text: str) -> str:
    """Return a text with the last component of each absolute path in place of the path; addresses do not change."""
    if ABSOLUTE_PATH.match(text) and "\n" not in text and not PATH_END.search(text):  # a path, maybe with spaces
        return get_last_component(text)
    text = QUOTED_PATH.sub(lambda match: match[1] + match[2] + get_last_component(match[3]) + match[1], text)
    return ABSOLUTE_PATH.sub(lambda match: get_last_component(match[0]), text)


def get_last_component(path: str) -> str:
    """Return the last component of a POSIX or Windows path."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


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
