"""Your own texts: a CSV, TSV, JSON Lines or Parquet file with a column of texts and one of labels."""

from pathlib import Path

from firstlight.data.table import require, table
from firstlight.data.text import Text, Texts, with_all_splits


class TextFile(Text):
    """Labelled texts from a file of your own.

    One file is split 80/10/10; with `val_path` and `test_path` the files are used as they are.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        max_length: int = 128,
        pad_to: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
    ) -> None:
        """Keep the settings.

        Args:
            path: file of the training texts.
            val_path: file of the validation texts; None takes a tenth of `path`.
            test_path: file of the test texts; None takes a tenth of `path`.
            text_column: column that holds the text.
            label_column: column that holds the class, a name or a number.
            max_length: tokens read of each text.
            pad_to: as in `Text`.
            batch_size: texts per step.
            num_workers: processes that read; None chooses for the platform.
            drop_last: as in `Text`.
            group_by_length: as in `Text`.
        """
        super().__init__(max_length, pad_to, batch_size, num_workers, drop_last, group_by_length)
        self.path = path
        self.val_path = val_path
        self.test_path = test_path
        self.text_column = text_column
        self.label_column = label_column

    def read_texts(self) -> tuple[list[str], dict[str, Texts]]:
        """Return class names, texts and labels.

        Raises:
            ValueError: a file or column is missing, a row has no text or label, or there are fewer than two classes.
        """
        files = {"train": self.path, "val": self.val_path, "test": self.test_path}
        read = {name: self._labelled(Path(path)) for name, path in files.items() if path}
        class_names = sorted({label for _, labels in read.values() for label in labels}, key=_natural)
        if len(class_names) < 2:
            raise ValueError(
                f"A classifier needs two classes or more, but column {self.label_column!r} of {self.path} "
                f"holds {class_names}: name the column of the labels"
            )
        splits = {name: (texts, [class_names.index(each) for each in labels]) for name, (texts, labels) in read.items()}
        return class_names, with_all_splits(splits)

    def _labelled(self, path: Path) -> tuple[list[str], list[str]]:
        texts: list[str] = []
        labels: list[str] = []
        for number, row in enumerate(table(path, self.text_column), start=1):
            if isinstance(row, str):
                raise ValueError(f"{path}, row {number}: {row}")
            require(self.label_column, list(row), path)
            text, label = row.get(self.text_column), row[self.label_column]
            if not isinstance(text, str) or not text.strip() or label is None or str(label) == "":
                raise ValueError(f"{path}, row {number}: text or label is empty: fill it in or remove the row")
            texts.append(text)
            labels.append(str(label))
        return texts, labels


def _natural(name: str) -> tuple[bool, float, str]:
    """Order "2" before "10", and numbers before words."""
    return (False, float(name), name) if name.isdigit() else (True, 0.0, name)
