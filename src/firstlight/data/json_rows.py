"""Read the rows of a JSON file in the forms that people save: JSON Lines, records, columns, and a wrapper of these."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from firstlight.run.errors import DataError

# The values of a row by column, or the reason why the row is invalid.
Row = dict[str, Any] | str
# Keys of pandas' to_json(orient="split").
SPLIT_KEYS = {"columns", "data"}
MAX_LISTED_KEYS = 6


def iter_json(file: TextIO, path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a JSON file, and for an invalid row the reason as a string.

    A file whose first line is a complete object is JSON Lines if more lines follow. Any other file is one document: see
    `iter_document`.

    Args:
        file: The opened file.
        path: Its path, for messages.
        columns: Required columns.

    Raises:
        DataError: If the document is invalid or has another form.
    """
    lines = (line for line in file if line.strip())
    first, second = next(lines, ""), next(lines, "")
    is_record = isinstance(parse_json_line(first), dict)
    if is_record and second:
        yield from map(parse_json_line, chain([first, second], lines))
        return
    rest = list(lines)
    try:
        document = load_json("".join([first, second, *rest]))
    except (ValueError, RecursionError) as error:
        # The first row of JSON Lines may be invalid.
        later = (parse_json_line(line) for line in chain([second], rest) if line)
        if path.suffix.lower() != ".jsonl" and not any(isinstance(row, dict) for row in later):
            raise DataError(
                f"{path} is neither a JSON document nor JSON Lines ({error}). Repair the file, or use another one."
            ) from error
        yield from map(parse_json_line, chain([first], [second] if second else [], rest))
        return
    yield from iter_document(document, path, columns)


def iter_document(document: Any, path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a JSON document.

    The document is a list of records; a record; {column: list} or {column: {row: value}}; {row: record};
    {"columns": names, "data": list of lists}; or an object with a list of records under exactly one key.

    Raises:
        DataError: If it has another form.
    """
    if isinstance(document, list):
        yield from (row if isinstance(row, dict) else "not a JSON object" for row in document)
        return
    if not isinstance(document, dict):
        raise DataError(f"{path} contains a single value instead of records. Save a list of objects, or JSON Lines.")
    values = list(document.values())
    tables = [name for name, value in document.items() if is_records(value)]
    if set(columns) <= document.keys() and values:
        if all(isinstance(document[name], list | dict) for name in columns):
            yield from iter_columns(document, path, columns)
        else:
            yield document
    elif document.keys() >= SPLIT_KEYS and all(isinstance(document[name], list) for name in SPLIT_KEYS):
        yield from iter_split(list(map(str, document["columns"])), document["data"])
    elif len(tables) == 1:
        yield from iter_document(document[tables[0]], path, columns)
    elif values and not tables and all(isinstance(value, dict) for value in values):
        yield from values
    else:
        keys = ", ".join(list(map(str, document))[:MAX_LISTED_KEYS])
        found = (
            f"several lists ({', '.join(tables[:MAX_LISTED_KEYS])})" if tables else f"an object with the keys {keys}"
        )
        raise DataError(
            f"{path} contains {found[:300]} instead of the columns {', '.join(columns)}. Save one list of objects."
        )


def iter_split(names: list[str], rows: list[Any]) -> Iterator[Row]:
    """Yield the rows of {"columns": names, "data": list of lists}."""
    for row in rows:
        is_valid = isinstance(row, list) and len(row) == len(names)
        yield dict(zip(names, row, strict=True)) if is_valid else f"expected {len(names)} values"


def is_records(value: Any) -> bool:
    """Return True if a JSON value is a list with an object."""
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def iter_columns(document: dict[str, Any], path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of {column: list} or {column: {row: value}}.

    Raises:
        DataError: If columns have different rows.
    """
    # An object numbers its rows, as pandas' to_json() does.
    keys = [list(document[name]) if isinstance(document[name], dict) else len(document[name]) for name in columns]
    if any(key != keys[0] for key in keys):
        raise DataError(
            f"The columns {', '.join(columns)} of {path} have different rows. Save them as a list of objects."
        )
    cells = [list(value.values()) if isinstance(value := document[name], dict) else value for name in columns]
    yield from (dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True))


def parse_json_line(line: str) -> Row:
    """Return the JSON object of a line, or the reason why the line is invalid."""
    try:
        row = load_json(line)
    except (ValueError, RecursionError) as error:
        return f"invalid JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def load_json(text: str) -> Any:
    """Return a JSON value.

    Raises:
        ValueError: If it is invalid, or an object has a key twice.
    """
    return json.loads(text, object_pairs_hook=_make_object)


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)[:40]!r}")
    return result
