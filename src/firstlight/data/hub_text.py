"""Any labelled text set of the Hugging Face hub, downloaded once when asked for by name."""

from pathlib import Path
from typing import Any

from firstlight.data.text import LabeledTexts, TextDataModule, add_missing_splits
from firstlight.run.errors import missing_package


class HubTextDataModule(TextDataModule):
    """Labelled texts from a data set of the hub, or from a folder that `datasets` saved.

    Missing splits are taken from "train": a tenth each, every class in the same proportion.

    Args:
        dataset_name: name on the hub, such as stanfordnlp/imdb, or a local folder.
        subset: configuration of the data set, such as sst2 of glue.
        text_column: column that holds the text.
        label_column: column that holds the class as a number.
        test_split: labelled split for the test; None takes a tenth of train.
        val_split: labelled split for validation; None takes a tenth of train.
        cache_dir: folder of the downloads.
        max_length: tokens read of each text.
        pad_to_multiple_of: as in `Text`.
        batch_size: texts per step.
        num_workers: processes that read; None chooses for the platform.
        drop_last: as in `Text`.
        group_by_length: as in `Text`.
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
    ) -> None:
        super().__init__(max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length)
        self.source = dataset_name
        self.subset = subset
        self.text_column = text_column
        self.label_column = label_column
        self.test_split = test_split
        self.val_split = val_split
        self.cache_dir = cache_dir

    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return class names, texts and labels.

        Raises:
            ValueError: the data set cannot be had, or lacks a split, a column, a text or a label.
        """
        tables = self._download()
        wanted = {"train": "train", "val": self.val_split, "test": self.test_split}
        splits: dict[str, LabeledTexts] = {}
        for name, split in wanted.items():
            if split is None:
                continue
            if split not in tables:
                raise ValueError(f"{self.source} has no split {split!r} but {', '.join(tables)}: set data.{name}_split")
            for column in (self.text_column, self.label_column):
                if column not in (columns := tables[split].column_names):
                    raise ValueError(
                        f"{self.source} has no column {column!r} but {', '.join(columns)}: name the right one"
                    )
            splits[name] = list(tables[split][self.text_column]), list(tables[split][self.label_column])
            if not all(isinstance(text, str) for text in splits[name][0]):
                raise ValueError(
                    f"{self.source} has rows without a text in column {self.text_column!r} of its split {split!r}: "
                    "name the column of the texts as data.text_column, or save a copy without those rows"
                )
        values = sorted({label for _, labels in splits.values() for label in labels}, key=str)
        if None in values or -1 in values:
            raise ValueError(
                f"{self.source} has rows without a label: choose data.test_split and data.val_split with them"
            )
        names: list[str] | None = getattr(tables["train"].features[self.label_column], "names", None)
        if names and (unnamed := set(values) - set(range(len(names)))):
            raise ValueError(
                f"{self.source} names {len(names)} classes, which are the labels 0 to {len(names) - 1}, but has the "
                f"label {unnamed.pop()}: its labels are damaged, so choose another data.label_column or data set"
            )
        positions = {value: value if names else index for index, value in enumerate(values)}
        numbered = {name: (texts, [positions[label] for label in labels]) for name, (texts, labels) in splits.items()}
        return names or [str(value) for value in values], add_missing_splits(numbered)

    def _download(self) -> Any:
        try:
            from datasets import disable_progress_bars, load_dataset, load_from_disk
        except ImportError as error:
            raise ValueError(missing_package(f"The data set {self.source!r} of the hub", "datasets")) from error
        disable_progress_bars()
        try:
            if Path(self.source, "dataset_dict.json").is_file():
                return load_from_disk(self.source)
            return load_dataset(self.source, self.subset, cache_dir=self.cache_dir)
        except Exception as error:  # datasets raises whatever its file systems raise
            raise ValueError(
                f"The data set {self.source!r} could not be loaded ({str(error).splitlines()[0]}): check the name and "
                "the network, or choose data=text_file, which needs none"
            ) from error
