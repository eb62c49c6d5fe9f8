"""Read the rows of a CSV file as spreadsheets write it: any usual delimiter, blanks, empty rows."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from firstlight.run.errors import DataError

# Appended to the last line of a CSV file. It is a row of its own unless an earlier quote is unterminated.
EOF_SENTINEL = "\0end"
DELIMITERS = ",;|\t"
# Excel reads the delimiter from a first line such as sep=;
EXCEL_DELIMITER = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
# The delimiter is searched in this many characters of the header row.
MAX_HEADER_CHARACTERS = 10_000


def iter_csv(file: TextIO, path: Path, columns: Sequence[str]) -> Iterator[list[str] | str]:
    """Yield the header of a CSV or TSV file, and then its rows, or for an invalid row the reason as a string.

    Args:
        file: The opened file.
        path: Its path, for messages.
        columns: Names by which the header row is recognized.

    Raises:
        DataError: If a quote is unterminated.
    """
    # A text may be longer than 128 KiB, the default limit of a field.
    csv.field_size_limit(2**31 - 1)
    first = next((line for line in file if line.strip()), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    if match := EXCEL_DELIMITER.fullmatch(first):
        delimiter, first = match.group(1), next(file, "")
    delimiter = find_delimiter(first, delimiter, columns)
    skips_blanks = any(name.startswith(" ") for name in next(csv.reader([first], delimiter=delimiter), [])[1:])
    lines = chain([first] if first else [], file, [EOF_SENTINEL])
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skips_blanks)
    # Spreadsheets write empty rows as delimiters only.
    rows = (row for row in reader if row and (len(row) == 1 or any(row)))
    row = next(rows)
    header = [name.strip() for name in row]
    yield header if row != [EOF_SENTINEL] else []
    first_line = reader.line_num + 1
    for row in rows:
        if EOF_SENTINEL in row[-1]:
            break
        yield row if len(row) == len(header) else f"expected {len(header)} fields, found {len(row)}"
        first_line = reader.line_num + 1
    if row != [EOF_SENTINEL]:
        raise DataError(
            f"{path} has an unterminated quote at or before line {first_line}. Close the quote, or double a literal "
            "quote."
        )


def find_delimiter(header: str, default: str, columns: Sequence[str]) -> str:
    """Return the delimiter of a file.

    Args:
        header: The first line of the file.
        default: The delimiter, if the header then has the columns, or if there is no other.
        columns: Required columns.
    """
    header = header[:MAX_HEADER_CHARACTERS]
    names = [name.strip() for name in next(csv.reader([header], delimiter=default), [])]
    if set(columns) <= set(names):
        return default
    try:
        return csv.Sniffer().sniff(header, DELIMITERS).delimiter
    except csv.Error:
        return default
