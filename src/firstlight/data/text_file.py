"""Your own texts: a CSV, TSV, JSON or Parquet file with a text column and a label column."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from firstlight.data.group_column import GroupColumn
from firstlight.data.json_rows import Row
from firstlight.data.label_column import LabelColumns, RawLabel, is_missing
from firstlight.data.tabular import (
    INVALID_TEXT,
    format_columns,
    is_clean_utf8,
    iter_rows,
    report_or_reject_skipped,
    validate_encoding,
)
from firstlight.data.text import LabeledTexts, TextDataModule
from firstlight.data.text_array import TextArrayBuilder
from firstlight.run.progress import track


class TextFileDataModule(TextDataModule):
    """Labeled texts from a file of your own.

    A single file is split 80/10/10. With `val_path` and `test_path`, the files are used as they are.

    Args:
        path: File with the training texts.
        val_path: File with the validation texts. If None, a tenth of `path`.
        test_path: File with the test texts. If None, a tenth of `path`.
        text_column: Column with the text.
        label_column: Column with the class (a name or a number), with several labels, or with the target. For several
            labels also a list of columns with 0 or 1, one per label.
        label_separator: Separates several labels in a cell that is not a JSON list.
        encoding: Encoding of CSV and JSON files, such as cp1252. If None, UTF-8, or UTF-16 with its byte order mark.
        task: "classification", "multilabel" (several labels per text) or "regression" (a number). If None, the task of
            the model, which the engine sets.
        max_length: Maximum tokens per text. Longer texts are truncated.
        pad_to_multiple_of: See `TextDataModule`.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: See `TextDataModule`.
        group_by_length: See `TextDataModule`.
        max_skipped_samples: Maximum number of invalid rows in a file that are skipped.
        balanced_sampler: See `LabeledDataModule`.
        group_column: Column with groups, such as authors. All texts of a group are in the same split. If None, equal
            texts are in the same split.
        num_folds: Number of folds of a cross-validation of `path`. If None, a single split.
        fold: Index of the fold that is the test split, from 0.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        text_column: str = "text",
        label_column: str | list[str] = "label",
        label_separator: str = ";",
        encoding: str | None = None,
        task: Literal["classification", "multilabel", "regression"] | None = None,
        max_length: int = 128,
        pad_to_multiple_of: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        max_skipped_samples: int = 0,
        balanced_sampler: bool = False,
        group_column: str | None = None,
        num_folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__(
            max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length, balanced_sampler
        )
        self.set_folds(num_folds, fold)
        self.path = path
        self.val_path = val_path
        self.test_path = test_path
        self.text_column = text_column
        validate_encoding(encoding)
        self.encoding = encoding
        self.set_task(task)
        self.labels = LabelColumns(self.task, label_column, label_separator)
        self.max_skipped_samples = max_skipped_samples
        self.group_column = group_column
        self.group_reader = GroupColumn(group_column, [text_column, *self.labels.names])

    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return texts, labels and their names.

        Raises:
            DataError: If a file or column is missing, too many rows are invalid, or there are fewer than two classes.
        """
        paths = {"train": self.path, "val": self.val_path, "test": self.test_path}
        loaded = {name: self._load_valid_rows(Path(path)) for name, path in paths.items() if path}
        raw_labels = {name: labels for name, (_, labels, _) in loaded.items()}
        self.groups = {name: groups for name, (_, _, groups) in loaded.items()}
        names, labels = self.labels.encode(raw_labels, self.path, self.splitter.known_names)
        return names, {name: (texts, labels[name]) for name, (texts, _, _) in loaded.items()}

    def get_source(self, split: str) -> str:
        """Return the file with the texts of a split."""
        return {"train": self.path, "val": self.val_path, "test": self.test_path}[split] or self.path

    def _load_valid_rows(self, path: Path) -> tuple[Sequence[str], list[RawLabel], list[str]]:
        """Return texts, labels and groups of a file; there are no groups without a `group_column`."""
        texts = TextArrayBuilder(self.tokens_dir)
        labels: list[RawLabel] = []
        groups: list[str] = []
        errors: dict[int, str] = {}
        columns = self.text_column, *self.labels.names, *self.group_reader.names
        rows = iter_rows(path, *columns, encoding=self.encoding)
        for number, row in enumerate(track(rows, f"Reading rows of {path.name}"), start=1):
            if error := self._find_row_error(row):
                errors[number] = error
            else:
                assert isinstance(row, dict)
                texts.append(row[self.text_column])
                labels.append(self.labels.parse(row))
                if self.group_column:
                    groups.append(self.group_reader.parse(row))
        report_or_reject_skipped(errors, len(errors) + len(texts), path, self.max_skipped_samples)
        return texts.build(), labels, groups

    def _find_row_error(self, row: Row) -> str | None:
        if isinstance(row, str):
            return row
        if self.text_column not in row:
            return f"no column {self.text_column!r}, only {format_columns(row)}"
        text = row[self.text_column]
        if is_missing(text):
            return f"empty column {self.text_column!r}"
        if not isinstance(text, str):
            return "the text must be a string"
        if not is_clean_utf8(text):
            return INVALID_TEXT
        return self.labels.find_error(row) or self.group_reader.find_error(row)
