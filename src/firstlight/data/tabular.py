"""Read the rows of a CSV, TSV, JSON Lines or Parquet file."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from firstlight.run.errors import DataError, MissingPackageError, UserError, missing_package, not_found

SUFFIXES = ".csv, .tsv, .jsonl or .parquet"
# A byte that is not UTF-8 is read as a surrogate, and JSON may contain surrogates. No tokenizer accepts them.
SURROGATES = re.compile("[\ud800-\udfff]")
# Appended to the last line of a CSV file. It is a row of its own unless an earlier quote is unterminated.
EOF_SENTINEL = "\0end"
# Messages list the columns of a corrupt file only up to this number of characters.
MAX_LISTED_CHARACTERS = 200

# A message names at most this many skipped rows.
MAX_LISTED_ROWS = 3

# The values of a row by column, or the reason why the row is invalid.
Row = dict[str, Any] | str


def iter_rows(path: Path, *columns: str) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV, JSON Lines or Parquet file, and for an invalid row the reason as a string.

    Args:
        path: The file.
        columns: Required columns. A JSON Lines file is not checked for them, because each row has its own columns.

    Raises:
        DataError: If the file does not exist, is empty or corrupt, has an unknown suffix, or lacks a column.
        MissingPackageError: If it is a Parquet file and pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(not_found(str(path), f"Use a {SUFFIXES} file."))
    suffix = path.suffix.lower()
    readers = {".csv": iter_csv, ".tsv": iter_csv, ".jsonl": iter_jsonl, ".json": iter_jsonl, ".parquet": iter_parquet}
    if suffix not in readers:
        raise DataError(f"Cannot read {path}: unknown suffix {suffix!r}. Use a {SUFFIXES} file.")
    try:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty. Use a file with at least one text.")
        yield from readers[suffix](path, columns)
    except UserError:
        raise
    except Exception as error:  # the libraries raise many kinds
        detail = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"Cannot read {path} ({detail}). Repair the file, or use another one.") from error


def iter_csv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file. See `iter_rows`."""
    # A text may be longer than 128 KiB, the default limit of a field.
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(chain(file, [EOF_SENTINEL]), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        rows = filter(None, reader)
        row = header = next(rows)
        if not is_clean_utf8("".join(header)):
            raise DataError(
                f"{path} has no valid UTF-8 header row. Save the file as UTF-8 text with the column names in the first "
                "row."
            )
        validate_columns(columns, header, path)
        first_line = reader.line_num + 1
        for row in rows:
            if EOF_SENTINEL in row[-1]:
                break
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                yield f"expected {len(header)} fields, found {len(row)}"
            first_line = reader.line_num + 1
    if row != [EOF_SENTINEL]:
        raise DataError(
            f"{path} has an unterminated quote at or before line {first_line}. Close the quote, or double a literal "
            "quote."
        )


def iter_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file. See `iter_rows`."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        yield from (parse_json_line(line) for line in file if line.strip())


def parse_json_line(line: str) -> Row:
    """Return the JSON object of a line, or the reason why the line is invalid."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"invalid JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def iter_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file. See `iter_rows`."""
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingPackageError(missing_package(f"The Parquet file {path}", "pyarrow")) from error
    file = parquet.ParquetFile(path)
    validate_columns(columns, file.schema_arrow.names, path)
    for batch in file.iter_batches(columns=list(columns)):
        yield from batch.to_pylist()


def validate_columns(required: Sequence[str], columns: Sequence[str], path: Path) -> None:
    """Check that a file has all required columns.

    Raises:
        DataError: If a column is missing.
    """
    for column in required:
        if column not in columns:
            raise DataError(
                f"{path} has no column {column!r}. Available: {format_columns(columns) or 'none'}. "
                "Set text_column or label_column to one of them."
            )


def format_columns(columns: Iterable[str]) -> str:
    """Return the column names on one line, truncated because a corrupt file may have long names."""
    return " ".join(", ".join(columns).split())[:MAX_LISTED_CHARACTERS]


def is_clean_utf8(value: str) -> bool:
    """Return True if a string contains neither NUL nor surrogates (bytes that are not UTF-8)."""
    return "\0" not in value and (value.isascii() or not SURROGATES.search(value))


def iter_texts(path: Path, column: str) -> Iterator[tuple[str | None, str]]:
    """Yield the text of each row and the row's number, or None and the reason why the row has no text.

    Raises:
        DataError: If the file cannot be read or lacks the column.
    """
    for number, row in enumerate(iter_rows(path, column), start=1):
        if isinstance(row, str):
            yield None, row
        elif not isinstance(text := row.get(column), str) or not text.strip():
            yield None, f"no text in column {column!r}"
        else:
            # Tokenizers reject surrogates.
            yield text if text.isascii() else SURROGATES.sub("\ufffd", text), f"row {number}"


def report_or_reject_skipped(errors: dict[int, str], num_rows: int, path: Path, max_skipped: int) -> None:
    """Print which rows of a file are skipped.

    Args:
        errors: What is wrong with each invalid row, by row number.
        num_rows: Number of rows of the file.
        path: The file.
        max_skipped: Maximum number of invalid rows, `data.max_skipped_samples`.

    Raises:
        DataError: If there are more invalid rows.
    """
    if len(errors) > max_skipped:
        number, error = next(iter(errors.items()))
        raise DataError(
            f"{path}, row {number}: {error}. Fix or remove the row, or skip invalid rows ({len(errors)} of "
            f"{num_rows}) with data.max_skipped_samples={len(errors)}."
        )
    if errors:
        listed = ", ".join(f"row {number} ({error})" for number, error in list(errors.items())[:MAX_LISTED_ROWS])
        rest = " and others" if len(errors) > MAX_LISTED_ROWS else ""
        print(f"data: skipped {len(errors)} of {num_rows} rows of {path}: {listed}{rest}", file=sys.stderr)
