"""Read the rows of a CSV, TSV, JSON Lines or Parquet file."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIXES = ".csv, .tsv, .jsonl or .parquet"


def table(path: Path, column: str) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a CSV, TSV, JSON Lines or Parquet file; a row that is no record is a sentence that says so.

    Raises:
        ValueError: no such file, an unknown suffix, or the file lacks the column.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}: give a {SUFFIXES} file")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        # A text may be longer than the 128 KiB that the module allows a field.
        csv.field_size_limit(2**31 - 1)
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
            require(column, list(reader.fieldnames or []), path)
            yield from reader
    elif suffix in (".jsonl", ".json"):
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            yield from (json_row(line) for line in file if line.strip())
    elif suffix == ".parquet":
        from datasets import Dataset as Table

        loaded = Table.from_parquet(str(path))
        require(column, loaded.column_names, path)
        yield from loaded  # type: ignore[misc]
    else:
        raise ValueError(f"Cannot read {path}: give a {SUFFIXES} file")


def require(column: str, columns: list[str], path: Path) -> None:
    """Refuse a file that lacks a column."""
    if column not in columns:
        raise ValueError(f"{path} has no column {column!r} but {', '.join(columns) or 'none'}: name the right one")


def json_row(line: str) -> dict[str, Any] | str:
    """Return the record on a line of JSON, or a sentence that says it is none."""
    try:
        row = json.loads(line)
    except ValueError as error:
        return f"no JSON ({error})"
    return row if isinstance(row, dict) else "no JSON object"


def rows(path: Path, column: str) -> Iterator[tuple[str | None, str]]:
    """Yield the text of each row, or None, and what is wrong with the row.

    Raises:
        ValueError: no such file, an unknown suffix, or a file without that column.
    """
    for number, row in enumerate(table(path, column), start=1):
        if isinstance(row, str):
            yield None, row
        elif not isinstance(text := row.get(column), str) or not text.strip():
            yield None, f"no text in column {column!r}"
        else:
            yield text, f"row {number}"
