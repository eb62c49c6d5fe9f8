"""Your own texts: a CSV, TSV, JSON Lines or Parquet file with a text column and a label column."""

import sys
from pathlib import Path
from typing import Any

from firstlight.data.tabular import Row, format_columns, is_clean_utf8, iter_rows
from firstlight.data.text import LabeledTexts, TextDataModule, add_missing_splits
from firstlight.run.errors import DataError

# A message names at most this many skipped rows.
MAX_LISTED_ROWS = 3


class TextFileDataModule(TextDataModule):
    """Labeled texts from a file of your own.

    A single file is split 80/10/10. With `val_path` and `test_path`, the files are used as they are.

    Args:
        path: File with the training texts.
        val_path: File with the validation texts. If None, a tenth of `path`.
        test_path: File with the test texts. If None, a tenth of `path`.
        text_column: Column with the text.
        label_column: Column with the class, a name or a number.
        max_length: Maximum tokens per text. Longer texts are truncated.
        pad_to_multiple_of: See `TextDataModule`.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: See `TextDataModule`.
        group_by_length: See `TextDataModule`.
        max_skipped_samples: Maximum number of invalid rows in a file that are skipped.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        max_length: int = 128,
        pad_to_multiple_of: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        max_skipped_samples: int = 0,
    ) -> None:
        super().__init__(max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length)
        self.path = path
        self.val_path = val_path
        self.test_path = test_path
        self.text_column = text_column
        self.label_column = label_column
        self.max_skipped_samples = max_skipped_samples

    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return class names, texts and labels.

        Raises:
            DataError: If a file or column is missing, too many rows are invalid, or there are fewer than two classes.
        """
        paths = {"train": self.path, "val": self.val_path, "test": self.test_path}
        loaded = {name: self._load_valid_rows(Path(path)) for name, path in paths.items() if path}
        class_names = sorted({label for _, labels in loaded.values() for label in labels}, key=_natural_sort_key)
        if len(class_names) < 2:
            raise DataError(
                f"A classifier requires at least two classes, but column {self.label_column!r} of {self.path} contains "
                f"{class_names}. Set data.label_column to the column of the labels."
            )
        class_ids = {name: index for index, name in enumerate(class_names)}
        splits = {name: (texts, [class_ids[label] for label in labels]) for name, (texts, labels) in loaded.items()}
        return class_names, add_missing_splits(splits)

    def _load_valid_rows(self, path: Path) -> tuple[list[str], list[str]]:
        texts: list[str] = []
        labels: list[str] = []
        errors: dict[int, str] = {}
        for number, row in enumerate(iter_rows(path, self.text_column, self.label_column), start=1):
            if error := self._find_row_error(row):
                errors[number] = error
            else:
                assert isinstance(row, dict)
                texts.append(row[self.text_column])
                labels.append(str(row[self.label_column]))
        if errors:
            self._report_or_reject_skipped(errors, len(errors) + len(texts), path)
        return texts, labels

    def _find_row_error(self, row: Row) -> str | None:
        if isinstance(row, str):
            return row
        for column in (self.text_column, self.label_column):
            if column not in row:
                return f"no column {column!r}, only {format_columns(row)}"
            if is_missing(row[column]):
                return "empty text or label"
            if not is_clean_utf8(str(row[column])):
                return "invalid UTF-8 or NUL character"
        if not isinstance(row[self.text_column], str) or isinstance(row[self.label_column], list | dict):
            return "the text must be a string, the label a string or a number"
        return None

    def _report_or_reject_skipped(self, errors: dict[int, str], num_rows: int, path: Path) -> None:
        """Print which rows are skipped.

        Args:
            errors: What is wrong with each invalid row, by row number.
            num_rows: Number of rows of the file.
            path: The file.

        Raises:
            DataError: If there are more invalid rows than `max_skipped_samples`.
        """
        if len(errors) > self.max_skipped_samples:
            number, error = next(iter(errors.items()))
            raise DataError(
                f"{path}, row {number}: {error}. Fix or remove the row, or skip invalid rows ({len(errors)} of "
                f"{num_rows}) with data.max_skipped_samples={len(errors)}."
            )
        listed = ", ".join(f"row {number} ({error})" for number, error in list(errors.items())[:MAX_LISTED_ROWS])
        rest = " and others" if len(errors) > MAX_LISTED_ROWS else ""
        print(f"data: skipped {len(errors)} of {num_rows} rows of {path}: {listed}{rest}", file=sys.stderr)


def is_missing(value: Any) -> bool:
    """Return True if a value is None, blank, or NaN, which some libraries write for a missing value."""
    return value is None or value != value or not str(value).strip()


def _natural_sort_key(name: str) -> tuple[bool, float, str]:
    """Sort "2" before "10", and numbers before names."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)
