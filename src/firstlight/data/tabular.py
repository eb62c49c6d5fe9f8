"""Read the rows of a CSV, TSV, JSON Lines or Parquet file."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from firstlight.run.errors import MissingPackageError, missing_package

SUFFIXES = ".csv, .tsv, .jsonl or .parquet"
# What a byte that is not UTF-8 is read as, and what JSON may hold: no tokenizer takes them.
SURROGATES = re.compile("[\ud800-\udfff]")
# Put behind the last line of a CSV file: a row of its own, unless a quote before it is left open.
EOF_SENTINEL = "\0end"

Row = dict[str, Any] | str


def iter_rows(path: Path, *columns: str) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV, JSON Lines or Parquet file; a row that is no record is a sentence that says so.

    Raises:
        ValueError: no such file, an unknown suffix, an empty or damaged file, or one that lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}: give a {SUFFIXES} file")
    suffix = path.suffix.lower()
    readers = {".csv": iter_csv, ".tsv": iter_csv, ".jsonl": iter_jsonl, ".json": iter_jsonl, ".parquet": iter_parquet}
    if suffix not in readers:
        raise ValueError(f"Cannot read {path}: give a {SUFFIXES} file")
    try:
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty: give a file with at least one text")
        yield from readers[suffix](path, columns)
    except Exception as error:
        if type(error) is ValueError:  # a rule of ours; the libraries' own kinds follow from it
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"Cannot read {path} ({why}): mend it, or give another file") from error


def iter_csv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file, as `table` does."""
    # A text may be longer than the 128 KiB that the module allows a field.
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(chain(file, [EOF_SENTINEL]), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        rows = filter(None, reader)
        row = header = next(rows)
        if not is_valid_text("".join(header)):
            raise ValueError(f"{path} does not start with the names of its columns in UTF-8: save it so, as text")
        validate_columns(columns, header, path)
        first_line = reader.line_num + 1
        for row in rows:
            if EOF_SENTINEL in row[-1]:
                break
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                yield f"a row of {len(row)} fields in a file of {len(header)} columns"
            first_line = reader.line_num + 1
    if row != [EOF_SENTINEL]:
        raise ValueError(f"{path} has a quote that nothing closes, in or before line {first_line}: close or double it")


def iter_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file, as `table` does; each names its own columns."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        yield from (parse_json_line(line) for line in file if line.strip())


def parse_json_line(line: str) -> Row:
    """Return the record on a line of JSON, or a sentence that says it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"no JSON ({error})"
    return row if isinstance(row, dict) else "no JSON object"


def iter_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file, as `table` does.

    Raises:
        ValueError: also if the package pyarrow is not there.
    """
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingPackageError(missing_package(f"The Parquet file {path}", "pyarrow")) from error
    file = parquet.ParquetFile(path)
    validate_columns(columns, file.schema_arrow.names, path)
    for batch in file.iter_batches(columns=list(columns)):
        yield from batch.to_pylist()


def validate_columns(wanted: Sequence[str], columns: Sequence[str], path: Path) -> None:
    """Refuse a file that lacks a column."""
    for column in wanted:
        if column not in columns:
            raise ValueError(
                f"{path} has no column {column!r} but {format_columns(columns) or 'none'}: name the right one"
            )


def format_columns(columns: Iterable[str]) -> str:
    """Return the names of columns on one line, cut where a damaged file makes them long."""
    return " ".join(", ".join(columns).split())[:200]


def is_valid_text(value: str) -> bool:
    """Say whether a string is all characters: no NUL, no byte that was not UTF-8, no half of a pair from JSON."""
    return "\0" not in value and (value.isascii() or not SURROGATES.search(value))


def iter_texts(path: Path, column: str) -> Iterator[tuple[str | None, str]]:
    """Yield the text of each row, or None, and what is wrong with the row.

    Raises:
        ValueError: no such file, an unknown suffix, or a file without that column.
    """
    for number, row in enumerate(iter_rows(path, column), start=1):
        if isinstance(row, str):
            yield None, row
        elif not isinstance(text := row.get(column), str) or not text.strip():
            yield None, f"no text in column {column!r}"
        else:
            # A tokenizer takes no surrogates.
            yield text if text.isascii() else SURROGATES.sub("\ufffd", text), f"row {number}"
