"""Text datasets: tokenized once, then padded batch by batch."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.sampler import BalancedSampler, LengthGroupedSampler, ResumableSampler
from firstlight.data.split import split_by_task
from firstlight.data.tabular import iter_texts
from firstlight.data.token_cache import tokenize_cached
from firstlight.data.token_dataset import RaggedTokens, TokenDataset
from firstlight.data.tokenization import TokenizerLike, tokenize
from firstlight.run.errors import ConfigError, DataError, invalid_value

# Texts, and the label of each.
LabeledTexts = tuple[list[str], Any]


class TextDataModule(LabeledDataModule):
    """Labeled texts. A subclass implements `load_texts`.

    The "inputs" of a batch are {"input_ids", "attention_mask"}, both int64 (batch, tokens). The texts are tokenized
    with the tokenizer of the model, which `set_tokenizer` sets.

    Args:
        max_length: Maximum tokens per text. Longer texts are truncated.
        pad_to_multiple_of: A batch is padded to the length of its longest text, rounded up to a multiple of this. Few
            different shapes keep the number of compiled kernels and of MPS graphs low; `max_length` gives one shape.
        batch_size: Texts per step and device.
        num_workers: DataLoader workers. If None, there are none.
        drop_last: Whether to drop an incomplete last training batch.
        group_by_length: Whether training batches consist of texts of similar length, in random order. It has no effect
            if all texts are padded to the same length.
        balanced_sampler: See `LabeledDataModule`.

    Raises:
        ConfigError: If `max_length` is less than 3.
    """

    modality: ClassVar[str] = "text"
    # Column with the text in a file, including files to predict.
    text_column: str = "text"
    # Encoding of these files. If None, UTF-8, or UTF-16 with its byte order mark.
    encoding: str | None = None

    # Cache of the tokens of large datasets.
    tokens_dir: ClassVar[Path] = Path("data/tokens")

    def __init__(
        self,
        max_length: int = 128,
        pad_to_multiple_of: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        balanced_sampler: bool = False,
    ) -> None:
        super().__init__(batch_size, num_workers, drop_last, balanced_sampler)
        if max_length < 3:
            expected = "an integer of at least 3 ([CLS], one token, [SEP])"
            raise ConfigError(invalid_value("data.max_length", max_length, expected, "Use e.g. data.max_length=128."))
        self.max_length = max_length
        self.pad_to_multiple_of = pad_to_multiple_of
        self.group_by_length = group_by_length
        self.tokenizer: TokenizerLike | None = None
        self.texts: dict[str, LabeledTexts] = {}

    @abstractmethod
    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return the names of the classes or labels and, by split, the texts and their labels.

        A label is the index of a class name. For other tasks, see `LabeledDataModule`.

        Raises:
            DataError: If the data is missing or cannot be read.
        """

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the labels and the most common words ("vocabulary"), for the constructor of the model."""
        return {
            **self.label_metadata,
            "vocabulary": find_most_common_words(self.texts["train"][0], self.max_length),
        }

    def set_tokenizer(self, tokenizer: TokenizerLike) -> None:
        """Set the tokenizer of the model, and tokenize the texts loaded so far."""
        self.tokenizer = tokenizer
        for name, (texts, labels) in self.texts.items():
            self.datasets[name] = self.make_dataset(texts, labels)

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the names and the datasets. Without a tokenizer, they have labels but no tokens yet."""
        names, self.texts = self.load_texts()
        datasets: dict[str, Dataset[Any]] = {}
        for name, (texts, labels) in self.texts.items():
            if self.tokenizer:
                datasets[name] = self.make_dataset(texts, labels)
            else:
                datasets[name] = TokenDataset(
                    RaggedTokens.from_lists([[]] * len(texts)), labels, label_dtype=self.label_dtype
                )
        return names, datasets

    def load_predict_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return the number of each row of a CSV, TSV, JSON or Parquet file, from 1, and the dataset of texts.

        Raises:
            DataError: If the file has no rows, or no column with texts.
        """
        self.rows = list(iter_texts(path, self.text_column, self.encoding))
        if not self.rows:
            raise DataError(f"{path} contains no rows. Use a file with at least one text.")
        texts = [text or "" for text, _ in self.rows]
        ids = [index if text is not None else -1 for index, (text, _) in enumerate(self.rows)]
        return [str(index + 1) for index in range(len(texts))], self.make_dataset(texts, None, ids)

    def get_read_error(self, name: str) -> str:
        """Return the reason why the row with this number has no text."""
        return f"row {name}: {self.rows[int(name) - 1][1]}"

    def make_dataset(self, texts: list[str], labels: Any, ids: Sequence[int] | None = None) -> TokenDataset:
        """Tokenize texts.

        Args:
            texts: The texts.
            labels: Label of each text. If None, there are no labels, as for prediction.
            ids: ID of each text, -1 if it could not be read. If None, the index of each text.
        """
        assert self.tokenizer is not None, "call set_tokenizer() first"
        # Texts to predict are read once, so that a cache file is not worthwhile.
        token_ids = (
            tokenize(texts, self.tokenizer, self.max_length)
            if labels is None
            else tokenize_cached(texts, self.tokenizer, self.max_length, self.tokens_dir)
        )
        return TokenDataset(
            token_ids,
            labels,
            ids,
            self.tokenizer.pad_token_id,
            self.pad_to_multiple_of,
            self.max_length,
            self.label_dtype,
        )

    def make_sampler(self, dataset: Dataset[Any]) -> ResumableSampler:
        """Return a sampler that groups texts by length if `group_by_length` is set and their lengths differ."""
        if self.group_by_length and isinstance(dataset, TokenDataset):
            lengths = dataset.padded_lengths
            if (lengths != lengths[0]).any():
                if self.balanced_sampler:
                    arguments = self.batch_size, self.run_seed, *self.rank_and_world_size
                    return BalancedSampler(self.get_balanced_labels(dataset), *arguments, lengths)
                return LengthGroupedSampler(lengths, self.batch_size, self.run_seed, *self.rank_and_world_size)
        return super().make_sampler(dataset)


def split_texts(
    texts: list[str], labels: Any, val_fraction: float, test_fraction: float, task: str = "classification"
) -> dict[str, LabeledTexts]:
    """Return texts and labels by split, with every class in the same proportion. Other tasks are split at random.

    Args:
        texts: All texts.
        labels: Label of each text.
        val_fraction: Fraction of the texts for validation, 0 to 1. If 0, there is no "val".
        test_fraction: Fraction of the texts for the test, 0 to 1. If 0, there is no "test".
        task: "classification", "multilabel" or "regression".
    """
    splits = split_by_task(labels, task, val_fraction, test_fraction)
    values = np.asarray(labels)
    return {name: ([texts[i] for i in indices], values[indices]) for name, indices in splits.items()}


def add_missing_splits(splits: Mapping[str, LabeledTexts], task: str = "classification") -> dict[str, LabeledTexts]:
    """Return train, val and test. A missing val or test is a tenth of train."""
    fractions = {name: 0.0 if name in splits else 0.1 for name in ("val", "test")}
    return {**splits, **split_texts(*splits["train"], fractions["val"], fractions["test"], task)}


def find_most_common_words(
    texts: list[str], max_length: int, max_words: int = 8000, max_texts: int = 2000
) -> list[str]:
    """Return the most common lower-case words at the start of the first texts, most common first.

    Args:
        texts: The texts.
        max_length: Number of words to count in each text. The model never gets the words after them.
        max_words: Number of words to return.
        max_texts: Number of texts to read.
    """
    first_texts = texts[:max_texts]
    counts = Counter(word for text in first_texts for word in text.lower().split(maxsplit=max_length)[:max_length])
    return [word for word, _ in counts.most_common(max_words)]
