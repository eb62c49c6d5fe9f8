"""Any labeled text dataset of the Hugging Face Hub, downloaded once."""

from pathlib import Path
from typing import Any

from firstlight.data.group_column import GroupColumn
from firstlight.data.label_column import is_missing, normalize_label, validate_class_labels
from firstlight.data.text import LabeledTexts, TextDataModule
from firstlight.run.download import describe_failed_download
from firstlight.run.errors import DataError, MissingPackageError, missing_package


class HubTextDataModule(TextDataModule):
    """Labeled texts from a dataset of the Hub, or from a directory that `save_to_disk` wrote.

    A saved Dataset is the split "train"; a saved DatasetDict has the splits that it names.

    Missing splits are taken from "train": a tenth each, with every class in the same proportion.

    Args:
        dataset_name: Name on the Hub, such as stanfordnlp/imdb, or a local directory.
        subset: Configuration of the dataset, such as sst2 of glue.
        text_column: Column with the text.
        label_column: Column with the class, as a number.
        test_split: Labeled split for the test. If None, a tenth of "train".
        val_split: Labeled split for validation. If None, a tenth of "train".
        cache_dir: Directory of the downloads.
        max_length: Maximum tokens per text. Longer texts are truncated.
        pad_to_multiple_of: See `TextDataModule`.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: See `TextDataModule`.
        group_by_length: See `TextDataModule`.
        balanced_sampler: See `LabeledDataModule`.
        group_column: Column with groups, such as authors. All texts of a group are in the same split. If None, equal
            texts are in the same split.
        num_folds: Number of folds of a cross-validation of "train". If None, a single split.
        fold: Index of the fold that is the test split, from 0.
    """

    def __init__(
        self,
        dataset_name: str,
        subset: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        test_split: str | None = "test",
        val_split: str | None = None,
        cache_dir: str = "data/hub",
        max_length: int = 128,
        pad_to_multiple_of: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        balanced_sampler: bool = False,
        group_column: str | None = None,
        num_folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__(
            max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length, balanced_sampler
        )
        self.set_folds(num_folds, fold)
        self.dataset_name = dataset_name
        self.subset = subset
        self.text_column = text_column
        self.label_column = label_column
        self.test_split = test_split
        self.val_split = val_split
        self.cache_dir = cache_dir
        self.group_column = group_column
        self.group_reader = GroupColumn(group_column, [text_column, label_column])

    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return class names, texts and labels.

        Raises:
            DataError: If the dataset cannot be loaded, or a split, column, text or label is missing.
            MissingPackageError: If the package datasets is not installed.
        """
        given = {"val": self.val_split, "test": self.test_split}
        self.splitter.require_undivided([name for name, split in given.items() if split is not None])
        tables = self._download()
        split_names = {"train": "train", "val": self.val_split, "test": self.test_split}
        splits = {
            name: self._load_split(tables, split_name, f"data.{name}_split")
            for name, split_name in split_names.items()
            if split_name is not None
        }
        if self.group_column:
            self.groups = {name: self._read_groups(tables[split_names[name]]) for name in splits}
        if any(is_missing(label) or label == -1 for _, labels in splits.values() for label in labels):
            raise DataError(
                f"{self.dataset_name} contains unlabeled rows. Set data.test_split and data.val_split to labeled "
                "splits."
            )
        names: list[str] | None = getattr(tables["train"].features[self.label_column], "names", None)
        if not names:
            splits = {name: (texts, list(map(normalize_label, labels))) for name, (texts, labels) in splits.items()}
            everything = [label for _, labels in splits.values() for label in labels]
            validate_class_labels(everything, self.label_column, self.dataset_name)
        values = sorted({label for _, labels in splits.values() for label in labels})
        if names and (unnamed := set(values) - set(range(len(names)))):
            raise DataError(
                f"{self.dataset_name} has {len(names)} classes with the labels 0 to {len(names) - 1}, but contains the "
                f"label {unnamed.pop()}. Set data.label_column to another column, or use another dataset."
            )
        class_ids = {value: value if names else index for index, value in enumerate(values)}
        labeled = {name: (texts, [class_ids[label] for label in labels]) for name, (texts, labels) in splits.items()}
        return names or [str(value) for value in values], labeled

    def get_source(self, split: str) -> str:
        """Return the dataset that the texts of a split come from."""
        names = {"train": "train", "val": self.val_split, "test": self.test_split}
        return "/".join(filter(None, [self.dataset_name, self.subset, names[split]]))

    def _load_split(self, tables: Any, split: str, key: str) -> LabeledTexts:
        """Return the texts of a split and their labels, as they are in the dataset.

        Args:
            tables: The downloaded dataset.
            split: Name of the split.
            key: Config key that selects the split.
        """
        if split not in tables:
            fix = "Use a dataset with this split." if split == "train" else f"Set {key} to one of them, or to null."
            raise DataError(f"{self.dataset_name} has no split {split!r}. Available: {', '.join(tables)}. {fix}")
        columns = tables[split].column_names
        for column in (self.text_column, self.label_column, *self.group_reader.names):
            if column not in columns:
                raise DataError(
                    f"{self.dataset_name} has no column {column!r}. Available: {', '.join(columns)}. "
                    "Set data.text_column, data.label_column or data.group_column to one of them."
                )
        texts, labels = self._read_columns(tables[split])
        if not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"Column {self.text_column!r} in the split {split!r} of {self.dataset_name} contains missing texts. "
                "Set data.text_column to the column of the texts, or use a copy of the dataset without these rows."
            )
        return texts, labels

    def _read_columns(self, table: Any) -> tuple[list[Any], list[Any]]:
        """Return the texts and the labels of a split.

        Raises:
            DataError: If the files are damaged, or a label is a list.
        """
        try:
            # Without the format of a saved dataset, which may be of another package.
            part = table.select_columns([self.text_column, self.label_column]).with_format(None)
            part.data.validate(full=True)  # reading invalid offsets would end the process
            texts, labels = list(part[self.text_column]), list(part[self.label_column])
        except Exception as error:  # pyarrow raises many kinds
            raise DataError(self._describe_damage(error)) from error
        if any(isinstance(label, list | dict | bytes) for label in labels):
            raise DataError(
                f"Column {self.label_column!r} of {self.dataset_name} contains lists. Set data.label_column to a "
                "column with one class per row."
            )
        return texts, labels

    def _read_groups(self, table: Any) -> list[str]:
        """Return the group of each text of a split.

        Raises:
            DataError: If a row has no group.
        """
        column = str(self.group_column)
        try:
            rows = [{column: value} for value in table.with_format(None)[column]]
        except Exception as error:  # pyarrow raises many kinds
            raise DataError(self._describe_damage(error)) from error
        for number, row in enumerate(rows, start=1):
            if reason := self.group_reader.find_error(row):
                raise DataError(
                    f"{self.dataset_name}, row {number}: {reason}. Set data.group_column to another column."
                )
        return [self.group_reader.parse(row) for row in rows]

    def _describe_damage(self, error: Exception) -> str:
        detail = next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
        if Path(self.dataset_name).is_dir():
            fix = "Save it again with save_to_disk, or use another directory."
            return f"Cannot read the dataset in {self.dataset_name} ({detail[:300]}). {fix}"
        arguments = ", ".join(map(repr, filter(None, [self.dataset_name, self.subset])))
        download = f"run load_dataset({arguments}).save_to_disk(<directory>) of the package datasets"
        if by_hand := describe_failed_download(error, download, "data.dataset_name=<directory>"):
            return f"Could not load the dataset {self.dataset_name!r}: {by_hand} Or use data=text_file with a file."
        return (
            f"Could not load the dataset {self.dataset_name!r} ({detail}). Check the name and your connection, or use "
            "data=text_file, which works offline."
        )

    def _download(self) -> Any:
        try:
            from datasets import disable_progress_bars, load_dataset, load_from_disk
        except ImportError as error:
            raise MissingPackageError(missing_package(f"The Hub dataset {self.dataset_name!r}", "datasets")) from error
        disable_progress_bars()
        directory = Path(self.dataset_name)
        try:
            if (directory / "dataset_dict.json").is_file():
                return load_from_disk(self.dataset_name)
            if (directory / "state.json").is_file():  # one split
                return {"train": load_from_disk(self.dataset_name)}
            return load_dataset(self.dataset_name, self.subset, cache_dir=self.cache_dir)
        except Exception as error:  # datasets raises the many kinds of its file systems
            raise DataError(self._describe_damage(error)) from error
