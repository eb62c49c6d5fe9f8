"""Text of users (class names, file names, values) on plots, in tables, in CSV files, and in commands."""

import csv
import io
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

# A longer text makes the plot or the table unreadable.
MAX_PLOT_LENGTH, MAX_CELL_LENGTH = 32, 60
# A spreadsheet evaluates a cell that starts with one of these characters
# (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001


def format_printable(text: str, max_length: int | None = None) -> str:
    r"""Return a text in which control characters, and bytes that are not UTF-8, are escaped: "\x1b", "\xe9".

    Args:
        text: Any text; a file name that is not UTF-8 contains surrogates.
        max_length: If given, a longer text loses its middle.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text)
    if max_length is not None and len(text) > max_length:
        head = (max_length - 1) // 2
        return f"{text[:head]}…{text[head + 1 - max_length :]}"
    return text


def _escape(char: str) -> str:
    # Python decodes the byte 0xE9 of a file name that is not UTF-8 as U+DCE9.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def format_bytes(num_bytes: int) -> str:
    """Return a number of bytes with a unit, e.g. "512 B" or "1.5 KiB"."""
    exponent = min(max(num_bytes.bit_length() - 1, 0) // 10, 4)
    unit = ["B", "KiB", "MiB", "GiB", "TiB"][exponent]
    return f"{num_bytes / 1024**exponent:.1f} {unit}" if exponent else f"{num_bytes} B"


def format_plot_text(text: Any, max_length: int = MAX_PLOT_LENGTH) -> str:
    """Return a text as matplotlib draws it, without mathtext ($...$), and not hidden in a legend (_...)."""
    shown = format_printable(str(text), max_length).replace("$", r"\$")
    return f" {shown}" if not shown or shown.startswith("_") else shown


def format_table_cell(value: Any) -> str:
    """Return a value as a cell of a rich table, without markup such as [bold]."""
    # As rich.markup.escape, which would import rich.
    shown = format_printable(str(value), MAX_CELL_LENGTH)
    shown = re.sub(r"(\\*)(\[[a-z#/@][^[]*?])", r"\1\1\\\2", shown)
    return f"{shown}\\" if shown.endswith("\\") and not shown.endswith("\\\\") else shown


def format_csv_cell(value: Any) -> Any:
    """Return a value as a cell of a CSV file: a text that a spreadsheet would evaluate starts with an apostrophe."""
    if not isinstance(value, str):
        return value
    text = "".join(_escape(char) if "\ud800" <= char <= "\udfff" or char == "\0" else char for char in value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)", text) is not None


def format_csv(rows: Iterable[Iterable[Any]], delimiter: str = ",") -> str:
    """Return rows in CSV format; no cell is a formula."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([format_csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def format_override(key: str, value: str | os.PathLike[str]) -> str:
    """Return a command-line override whose value Hydra reads as this text."""
    text = os.fspath(value)
    is_plain = re.fullmatch(r"[A-Za-z/.][\w./@+-]*", text, re.ASCII) and not re.fullmatch(r"\.\d[\d_]*\w*", text)
    if is_plain and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return f"{key}={text}"
    return f"{key}={quote_hydra(text)}"


def quote_hydra(text: str) -> str:
    """Return a text in single quotes, as Hydra reads it: backslashes are doubled only before a quote."""
    escaped = re.sub(r"(\\*)(?='|$)", r"\1\1", text).replace("'", r"\'")
    return f"'{escaped}'"


def unquote_hydra(text: str) -> str:
    """Return the text that a quoted or plain value of an override stands for."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        quote = text[0]
        return re.sub(rf"(\\*){quote}|(\\+)$", lambda match: _unescape(match, quote), text[1:-1])
    return text


def _unescape(match: re.Match[str], quote: str) -> str:
    slashes = match.group(1) if match.group(1) is not None else match.group(2)
    return "\\" * (len(slashes) // 2) + (quote if match.group(1) is not None else "")


def format_command(*words: str) -> str:
    """Return a command that can be pasted into a shell; neither the shell nor make evaluates a part of it."""
    return " ".join(map(_quote_shell, words))


def _quote_shell(word: str) -> str:
    if word.isprintable():
        return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)
    # $'...' of bash and zsh states control characters and bytes that are not UTF-8.
    content = "".join(
        f"\\x{byte:02x}" if byte < 32 or byte > 126 else chr(byte) for byte in os.fsencode(_quotable(word))
    )
    return f"$'{content}'"


def _quotable(word: str) -> str:
    return word.replace("\\", "\\\\").replace("'", "\\'")
