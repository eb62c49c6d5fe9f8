"""Read the rows of a CSV, TSV, JSON or Parquet file."""

import codecs
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from firstlight.data.csv_rows import iter_csv
from firstlight.data.json_rows import Row, iter_json
from firstlight.run.errors import (
    ConfigError,
    DataError,
    MissingPackageError,
    UserError,
    get_first_line,
    invalid_value,
    missing_package,
    not_found,
)

SUFFIXES = ".csv, .tsv, .json, .jsonl or .parquet"
# A byte that is not UTF-8 is read as a surrogate, and JSON may contain surrogates. No tokenizer accepts them.
SURROGATES = re.compile("[\ud800-\udfff]")
INVALID_TEXT = "invalid UTF-8 or NUL character"
ENCODING_FIX = "Save the file as UTF-8, or set its encoding (of text_file and image_folder), e.g. data.encoding=cp1252."
# Messages list the columns of a corrupt file only up to this number of characters.
MAX_LISTED_CHARACTERS = 200

# A message names at most this many skipped rows.
MAX_LISTED_ROWS = 3


def iter_rows(path: Path, *columns: str, encoding: str | None = None) -> Iterator[Row]:
    """Yield the rows of a CSV, TSV, JSON or Parquet file, and for an invalid row the reason as a string.

    Args:
        path: The file.
        columns: Required columns. A JSON Lines file is not checked for them, because each row has its own columns.
        encoding: Encoding of a text file. If None, UTF-8, or UTF-16 if the file starts with its byte order mark.

    Raises:
        DataError: If the file does not exist, is empty or corrupt, has an unknown suffix, or lacks a column, or two
            columns have the required name.
        MissingPackageError: If it is a Parquet file and pyarrow is not installed.
    """
    if path.is_dir():
        fix = f"Use a {SUFFIXES} file, or data=hub_text data.dataset_name={path} for a saved dataset."
        raise DataError(f"{path} is a directory. {fix}")
    if not path.is_file():
        raise DataError(not_found(str(path), f"Use a {SUFFIXES} file."))
    suffix = path.suffix.lower()
    readers: dict[str, Callable[[Path, Sequence[str], str | None], Iterator[Row]]] = {
        **dict.fromkeys((".csv", ".tsv"), iter_csv_rows),
        **dict.fromkeys((".json", ".jsonl"), iter_json_rows),
        ".parquet": iter_parquet,
    }
    if suffix not in readers:
        raise DataError(f"Cannot read {path}: unknown suffix {suffix!r}. Use a {SUFFIXES} file.")
    try:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty. Use a file with at least one text.")
        yield from readers[suffix](path, columns, encoding)
    except UserError:
        raise
    except Exception as error:  # the libraries raise many kinds
        raise DataError(
            f"Cannot read {path} ({get_first_line(error)}). Repair the file, or use another one."
        ) from error


def open_text(path: Path, encoding: str | None) -> TextIO:
    """Open a text file with any line ends. A byte that its encoding lacks is read as a surrogate.

    Args:
        path: The file.
        encoding: Its encoding. If None, UTF-8, or UTF-16 if the file starts with its byte order mark.
    """
    with path.open("rb") as file:
        mark = file.read(2)
    found = "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return path.open(newline="", encoding=encoding or found, errors="surrogateescape")


def validate_encoding(encoding: str | None) -> None:
    """Check that there is a text encoding with this name.

    Raises:
        ConfigError: If there is none.
    """
    try:
        is_known = encoding is None or bool(b"a".decode(encoding) or True)
    except (LookupError, UnicodeError) as error:
        # UTF-16 cannot decode one byte; LookupError: no such encoding, or one that is not for text.
        is_known = isinstance(error, UnicodeError)
    if not is_known:
        fix = "Use e.g. data.encoding=cp1252, or data.encoding=null for UTF-8."
        raise ConfigError(invalid_value("data.encoding", encoding, "the name of a text encoding in Python", fix))


def iter_csv_rows(path: Path, columns: Sequence[str], encoding: str | None) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file. See `iter_rows`."""
    with open_text(path, encoding) as file:
        rows = iter_csv(file, path, columns)
        header = next(rows)
        if not header or not is_clean_utf8("".join(header)):
            raise DataError(f"{path} has no header row of column names in UTF-8. {ENCODING_FIX}")
        validate_columns(columns, header, path)
        for row in rows:
            yield row if isinstance(row, str) else dict(zip(header, row, strict=True))


def iter_json_rows(path: Path, columns: Sequence[str], encoding: str | None) -> Iterator[Row]:
    """Yield the rows of a JSON or JSON Lines file. See `iter_rows`."""
    with open_text(path, encoding) as file:
        yield from iter_json(file, path, columns)


def iter_parquet(path: Path, columns: Sequence[str], encoding: str | None) -> Iterator[Row]:
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
                "Set text_column, label_column or group_column to one of them."
            )
        if list(columns).count(column) > 1:
            raise DataError(f"{path} has several columns named {column!r}. Rename or remove all but one.")


def format_columns(columns: Iterable[str]) -> str:
    """Return the column names on one line, truncated because a corrupt file may have long names."""
    return " ".join(", ".join(columns).split())[:MAX_LISTED_CHARACTERS]


def is_clean_utf8(value: str) -> bool:
    """Return True if a string contains neither NUL nor surrogates (bytes that are not UTF-8)."""
    return "\0" not in value and (value.isascii() or not SURROGATES.search(value))


def iter_texts(path: Path, column: str, encoding: str | None = None) -> Iterator[tuple[str | None, str]]:
    """Yield the text of each row and the row's number, or None and the reason why the row has no text.

    Raises:
        DataError: If the file cannot be read or lacks the column.
    """
    for number, row in enumerate(iter_rows(path, column, encoding=encoding), start=1):
        if isinstance(row, str):
            yield None, row
        elif not isinstance(text := row.get(column), str) or not text.strip():
            yield None, f"no text in column {column!r}"
        elif not is_clean_utf8(text):
            yield None, f"{INVALID_TEXT}. {ENCODING_FIX}"
        else:
            yield text, f"row {number}"


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
        if error == INVALID_TEXT:
            raise DataError(f"{path}, row {number}: {error}. {ENCODING_FIX}")
        raise DataError(
            f"{path}, row {number}: {error}. Fix or remove the row, or skip invalid rows ({len(errors)} of "
            f"{num_rows}) with data.max_skipped_samples={len(errors)}."
        )
    if errors:
        listed = ", ".join(f"row {number} ({error})" for number, error in list(errors.items())[:MAX_LISTED_ROWS])
        rest = " and others" if len(errors) > MAX_LISTED_ROWS else ""
        print(f"data: skipped {len(errors)} of {num_rows} rows of {path}: {listed}{rest}", file=sys.stderr)
