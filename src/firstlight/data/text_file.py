"""Your own texts: a CSV, TSV, JSON Lines or Parquet file with a column of texts and one of labels."""

import sys
from pathlib import Path
from typing import Any

from firstlight.data.tabular import Row, format_columns, is_valid_text, iter_rows
from firstlight.data.text import LabeledTexts, TextDataModule, add_missing_splits


class TextFileDataModule(TextDataModule):
    """Labelled texts from a file of your own.

    One file is split 80/10/10; with `val_path` and `test_path` the files are used as they are.

    Args:
        path: file of the training texts.
        val_path: file of the validation texts; None takes a tenth of `path`.
        test_path: file of the test texts; None takes a tenth of `path`.
        text_column: column that holds the text.
        label_column: column that holds the class, a name or a number.
        max_length: tokens read of each text.
        pad_to_multiple_of: as in `Text`.
        batch_size: texts per step.
        num_workers: processes that read; None chooses for the platform.
        drop_last: as in `Text`.
        group_by_length: as in `Text`.
        max_skipped_samples: rows of a file that may be unusable and are skipped.
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
            ValueError: a file or column is missing, too many rows are unusable, or there are fewer than two classes.
        """
        files = {"train": self.path, "val": self.val_path, "test": self.test_path}
        read = {name: self._load_file(Path(path)) for name, path in files.items() if path}
        class_names = sorted({label for _, labels in read.values() for label in labels}, key=_natural_sort_key)
        if len(class_names) < 2:
            raise ValueError(
                f"A classifier needs two classes or more, but column {self.label_column!r} of {self.path} "
                f"holds {class_names}: name the column of the labels"
            )
        numbers = {name: number for number, name in enumerate(class_names)}
        splits = {name: (texts, [numbers[each] for each in labels]) for name, (texts, labels) in read.items()}
        return class_names, add_missing_splits(splits)

    def _load_file(self, path: Path) -> tuple[list[str], list[str]]:
        texts: list[str] = []
        labels: list[str] = []
        bad: dict[int, str] = {}
        for number, row in enumerate(iter_rows(path, self.text_column, self.label_column), start=1):
            if fault := self._find_row_error(row):
                bad[number] = fault
            else:
                assert isinstance(row, dict)
                texts.append(row[self.text_column])
                labels.append(str(row[self.label_column]))
        if bad:
            self._report_skipped(bad, len(bad) + len(texts), path)
        return texts, labels

    def _find_row_error(self, row: Row) -> str | None:
        if isinstance(row, str):
            return row
        for column in (self.text_column, self.label_column):
            if column not in row:
                return f"no column {column!r} but {format_columns(row)}"
            if is_missing(row[column]):
                return "text or label is empty"
            if not is_valid_text(str(row[column])):
                return "characters that are not UTF-8, or NUL"
        if not isinstance(row[self.text_column], str) or isinstance(row[self.label_column], list | dict):
            return "a text is a string, a label a name or a number"
        return None

    def _report_skipped(self, bad: dict[int, str], count: int, path: Path) -> None:
        """Say which rows are skipped, or refuse them if they are too many."""
        first, fault = next(iter(bad.items()))
        if len(bad) > self.max_skipped_samples:
            mend = "fill it in" if "empty" in fault else "correct"
            raise ValueError(
                f"{path}, row {first}: {fault}: {mend} or remove the row, or skip such rows, {len(bad)} of {count}, "
                f"by data.max_skipped_samples={len(bad)}"
            )
        some = ", ".join(f"row {number} ({fault})" for number, fault in list(bad.items())[:3])
        more = " and others" if len(bad) > 3 else ""
        print(f"data: skipped {len(bad)} of {count} rows of {path}: {some}{more}", file=sys.stderr)


def is_missing(value: Any) -> bool:
    """Say whether a value is none, blank, or the NaN by which some write none."""
    return value is None or value != value or not str(value).strip()


def _natural_sort_key(name: str) -> tuple[bool, float, str]:
    """Order "2" before "10", and numbers before words."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)
