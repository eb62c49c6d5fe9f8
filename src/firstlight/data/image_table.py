"""Labels of images in a table next to them: metadata.csv or metadata.jsonl, as in Hugging Face's imagefolder."""

from pathlib import Path

from firstlight.data.label_column import LabelColumns, RawLabel, is_missing
from firstlight.data.tabular import Row, iter_rows, report_or_reject_skipped
from firstlight.run.errors import DataError

TABLE_NAMES = ("metadata.csv", "metadata.jsonl")
FILE_COLUMN = "file_name"


def read_image_table(directory: Path, columns: LabelColumns, max_skipped: int) -> tuple[list[Path], list[RawLabel]]:
    """Return the images that the table of a directory lists, and the label of each.

    Args:
        directory: Directory with metadata.csv or metadata.jsonl. Its column "file_name" has paths relative to it.
        columns: The columns with the labels.
        max_skipped: Maximum number of invalid rows that are skipped.

    Raises:
        DataError: If there is no table, a column is missing, or too many rows are invalid.
    """
    table = next((directory / name for name in TABLE_NAMES if (directory / name).is_file()), None)
    if table is None:
        raise DataError(
            f"{directory} contains neither {' nor '.join(TABLE_NAMES)}. Add one with the columns {FILE_COLUMN} and "
            f"{', '.join(columns.names)}, or set data.label_column=null to use class directories."
        )
    paths: list[Path] = []
    labels: list[RawLabel] = []
    errors: dict[int, str] = {}
    for number, row in enumerate(iter_rows(table, FILE_COLUMN, *columns.names), start=1):
        if error := find_row_error(directory, row, columns):
            errors[number] = error
        else:
            assert isinstance(row, dict)
            paths.append(directory / row[FILE_COLUMN])
            labels.append(columns.parse(row))
    report_or_reject_skipped(errors, len(errors) + len(paths), table, max_skipped)
    return paths, labels


def find_row_error(directory: Path, row: Row, columns: LabelColumns) -> str | None:
    """Return why a row has no image or no valid label, or None if it has both."""
    if isinstance(row, str):
        return row
    name = row.get(FILE_COLUMN)
    if is_missing(name) or not isinstance(name, str):
        return f"empty column {FILE_COLUMN!r}"
    if not (directory / name).is_file():
        return f"{name} does not exist in {directory}"
    return columns.find_error(row)
