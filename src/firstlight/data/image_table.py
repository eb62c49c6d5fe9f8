"""Labels of images in a table next to them: metadata.csv or metadata.jsonl, as in Hugging Face's imagefolder."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from firstlight.data.group_column import GroupColumn
from firstlight.data.image_files import list_images
from firstlight.data.image_layout import format_names, get_split, list_dirs
from firstlight.data.json_rows import Row
from firstlight.data.label_column import LabelColumns, RawLabel, is_missing
from firstlight.data.tabular import iter_rows, report_or_reject_skipped
from firstlight.run.errors import DataError

TABLE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_COLUMN = "file_name"


class ImageRows(NamedTuple):
    """The valid rows of a table.

    Attributes:
        paths: The images.
        labels: Label of each image.
        groups: Group of each image; empty without groups.
    """

    paths: Sequence[Path]
    labels: list[RawLabel]
    groups: Sequence[str] = ()


def read_image_tables(
    root: Path, columns: LabelColumns, group: GroupColumn, max_skipped: int, encoding: str | None = None
) -> dict[str, ImageRows]:
    """Return the rows of each split, from a table in `root` or one in each split's directory.

    If the paths in the table of `root` start with the directories of splits, these are the splits. Otherwise, all
    images are in "train".

    Args:
        root: Directory with the tables.
        columns: The columns with the labels.
        group: The column with the groups.
        max_skipped: Maximum number of invalid rows of a table that are skipped.
        encoding: See `iter_rows`.

    Raises:
        DataError: If there is no table, or two, a column is missing, or too many rows are invalid.
    """
    split_dirs = [path for path in list_dirs(root) if get_split(path.name) and find_table(path)]
    if find_table(root) and split_dirs:
        raise DataError(
            f"The layout of {root} is ambiguous: it contains {TABLE_NAMES[0]}, and so do {format_names(split_dirs)}. "
            "Remove one of them."
        )
    if not split_dirs:
        return _split_by_path(root, read_image_table(root, columns, group, max_skipped, encoding))
    splits = {get_split(path.name) or "": path for path in split_dirs}
    if len(splits) < len(split_dirs) or "train" not in splits:
        raise DataError(
            f"The layout of {root} is ambiguous: expected {TABLE_NAMES[0]} in one directory per split, got "
            f"{format_names(split_dirs)}. Use the names train, val and test."
        )
    return {split: read_image_table(path, columns, group, max_skipped, encoding) for split, path in splits.items()}


def _split_by_path(root: Path, rows: ImageRows) -> dict[str, ImageRows]:
    paths = rows.paths
    names = [path.relative_to(root).parts[0] if path.is_relative_to(root) else "" for path in paths]
    splits = [get_split(name, by_parts=False) for name in names]
    if "train" not in splits or len(set(splits)) == 1:
        return {"train": rows}
    if None in splits:
        raise DataError(
            f"The table of {root} is ambiguous: some images are in directories of splits, but "
            f"{paths[splits.index(None)]} is not. Move it into one of them."
        )
    result = {}
    for name in dict.fromkeys(splits):
        chosen = [index for index, split in enumerate(splits) if split == name]
        columns = ([column[index] for index in chosen] if column else column for column in rows)
        result[str(name)] = ImageRows(*columns)  # type: ignore[arg-type]
    return result


def find_table(directory: Path) -> Path | None:
    """Return the path of the table in a directory, or None if there is none."""
    return next((directory / name for name in TABLE_NAMES if (directory / name).is_file()), None)


def read_image_table(
    directory: Path, columns: LabelColumns, group: GroupColumn, max_skipped: int, encoding: str | None = None
) -> ImageRows:
    """Return the images that the table of a directory lists, with labels and groups; print how many it does not list.

    Args:
        directory: Directory with a table. Its column "file_name" has paths relative to it.
        columns: The columns with the labels.
        group: The column with the groups.
        max_skipped: Maximum number of invalid rows that are skipped.
        encoding: See `iter_rows`.

    Raises:
        DataError: If there is no table, a column is missing, or too many rows are invalid.
    """
    table = find_table(directory)
    if table is None:
        raise DataError(
            f"{directory} contains neither {', '.join(TABLE_NAMES[:-1])} nor {TABLE_NAMES[-1]}. Add one with the "
            f"columns {FILE_COLUMN} and {', '.join(columns.names)}, or set data.label_column=null to use class "
            "directories."
        )
    paths: list[Path] = []
    labels: list[RawLabel] = []
    groups: list[str] = []
    errors: dict[int, str] = {}
    names = FILE_COLUMN, *columns.names, *group.names
    for number, row in enumerate(iter_rows(table, *names, encoding=encoding), start=1):
        if error := find_row_error(directory, row, columns, group):
            errors[number] = error
        else:
            assert isinstance(row, dict)
            paths.append(resolve_image(directory, row[FILE_COLUMN]))
            labels.append(columns.parse(row))
            if group.name is not None:
                groups.append(group.parse(row))
    report_or_reject_skipped(errors, len(errors) + len(paths), table, max_skipped)
    report_unlisted(table, paths)
    return ImageRows(paths, labels, groups)


def report_unlisted(table: Path, paths: list[Path]) -> None:
    """Print how many images next to a table are not in it.

    Args:
        table: The table.
        paths: The images that the table lists.
    """
    listed = set(paths)
    if count := sum(path not in listed for path in list_images(table.parent).paths):
        print(f"data: ignored {count:,} images that {table} does not list.", file=sys.stderr, flush=True)


def resolve_image(directory: Path, name: str) -> Path:
    """Return the path of an image in a table. A table from Windows may separate directories with backslashes."""
    path = directory / name
    return directory / name.replace("\\", "/") if "\\" in name and not path.is_file() else path


def find_row_error(directory: Path, row: Row, columns: LabelColumns, group: GroupColumn) -> str | None:
    """Return why a row has no image, no valid label or no group, or None if it has all."""
    if isinstance(row, str):
        return row
    name = row.get(FILE_COLUMN)
    if is_missing(name) or not isinstance(name, str):
        return f"empty column {FILE_COLUMN!r}"
    if not resolve_image(directory, name).is_file():
        return f"{name} does not exist in {directory}"
    return columns.find_error(row) or group.find_error(row)
