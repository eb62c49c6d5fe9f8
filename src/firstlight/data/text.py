"""Text datasets: tokenized once, then padded batch by batch."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.identity import make_text_identity, stamp_identities, stamp_labels
from firstlight.data.sample_splitter import HELD_OUT, Samples
from firstlight.data.sampler import BalancedSampler, LengthGroupedSampler, ResumableSampler
from firstlight.data.tabular import iter_texts
from firstlight.data.text_array import take_texts
from firstlight.data.token_cache import tokenize_cached
from firstlight.data.token_dataset import RaggedTokens, TokenDataset
from firstlight.data.tokenization import MAX_CHARACTERS, TokenizerLike, tokenize
from firstlight.run.errors import ConfigError, DataError, invalid_value

# As in WordPiece, for which a longer word is unknown.
MAX_WORD_CHARACTERS = 100
# Texts, and the label of each.
LabeledTexts = tuple[Sequence[str], Any]


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
        num_folds: Number of folds of a cross-validation. If None, a single split.
        fold: Index of the fold that is the test split, from 0.

    Raises:
        ConfigError: If `max_length` is less than 3.
    """

    modality: ClassVar[str] = "text"
    # Column with the text in a file, including files to predict.
    text_column: str = "text"
    # Encoding of these files. If None, UTF-8, or UTF-16 with its byte order mark.
    encoding: str | None = None

    # Column with the groups of texts that are never in two splits; None: each text is assigned on its own.
    group_column: str | None = None

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
        num_folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, drop_last, balanced_sampler)
        if max_length < 3:
            expected = "an integer of at least 3 ([CLS], one token, [SEP])"
            raise ConfigError(invalid_value("data.max_length", max_length, expected, "Use e.g. data.max_length=128."))
        self.set_folds(num_folds, fold)
        self.max_length = max_length
        self.pad_to_multiple_of = pad_to_multiple_of
        self.group_by_length = group_by_length
        self.tokenizer: TokenizerLike | None = None
        self.texts: dict[str, LabeledTexts] = {}
        # Group of each text, by split. `load_texts` sets it if there is a `group_column`.
        self.groups: dict[str, Sequence[str]] = {}

    @abstractmethod
    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return the names of the classes or labels and, by split, the texts and their labels.

        A label is the index of a class name. For other tasks, see `LabeledDataModule`. If "val" or "test" is missing, a
        tenth of "train" is taken for it, with every class in the same proportion.

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
        names, texts = self.load_texts()
        self.texts = self.add_missing_splits(names, texts)
        datasets: dict[str, Dataset[Any]] = {}
        for name, (strings, labels) in self.texts.items():
            if self.tokenizer:
                datasets[name] = self.make_dataset(strings, labels)
            else:
                datasets[name] = TokenDataset(RaggedTokens.empty(len(strings)), labels, label_dtype=self.label_dtype)
        return names, datasets

    def add_missing_splits(self, names: list[str], texts: Mapping[str, LabeledTexts]) -> dict[str, LabeledTexts]:
        """Return texts and labels of all splits. Equal texts are in the same split."""
        samples = {}
        for name, (strings, labels) in texts.items():
            classes = self.name_classes(name, labels, names)
            stamps = stamp_labels(classes or np.asarray(labels).tolist())
            source = self.get_source(name)
            identities: Iterable[str] = map(make_text_identity, strings)
            if self.group_column:
                stamps = stamp_identities(identities, stamps)
                identities = self.groups[name]
            samples[name] = Samples(identities, classes, stamps, source, self.group_column or "", "text")
        return {
            name: (take_texts(texts[key][0], indices), np.asarray(texts[key][1])[indices])
            for name, (key, indices) in self.splitter.split(samples, HELD_OUT, names).items()
        }

    def get_source(self, split: str) -> str:
        """Return where the texts of a split come from, such as a file; empty if there is only one place."""
        return ""

    def load_predict_inputs(self, paths: list[Path]) -> tuple[list[str], Dataset[Any]]:
        """Return the number of each row of a CSV, TSV, JSON or Parquet file, from 1, and the dataset of texts.

        With several files, the name of a row is file:number.

        Raises:
            DataError: If a path is a directory, or a file has no rows or no column with texts.
        """
        # Text, or None and the reason why there is none, by name.
        self.rows: dict[str, tuple[str | None, str]] = {}
        for path in paths:
            if path.is_dir():
                raise DataError(f"{path} is a directory, but texts are read from files. Use e.g. 'input={path}/*.csv'.")
            prefix = f"{path}:" if len(paths) > 1 else ""
            texts = iter_texts(path, self.text_column, self.encoding)
            rows = {f"{prefix}{number}": row for number, row in enumerate(texts, start=1)}
            if not rows:
                raise DataError(f"{path} contains no rows. Use a file with at least one text.")
            self.rows |= rows
        strings = [text or "" for text, _ in self.rows.values()]
        ids = [index if text is not None else -1 for index, (text, _) in enumerate(self.rows.values())]
        return list(self.rows), self.make_dataset(strings, None, ids)

    def make_predict_dataset(self, values: Sequence[str]) -> Dataset[Any]:
        """Return the dataset of texts in memory."""
        return self.make_dataset(values, None)

    def get_read_error(self, name: str) -> str:
        """Return the reason why the row with this name has no text."""
        return f"row {name}: {self.rows[name][1]}"

    def make_dataset(self, texts: Sequence[str], labels: Any, ids: Sequence[int] | None = None) -> TokenDataset:
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


def find_most_common_words(
    texts: Sequence[str], max_length: int, max_words: int = 8000, max_texts: int = 2000
) -> list[str]:
    """Return the most common lower-case words at the start of the first texts, most common first.

    Words of more than `MAX_WORD_CHARACTERS`, such as base64 data, are left out: every checkpoint stores all words.

    Args:
        texts: The texts.
        max_length: Number of words to count in each text. The model never gets the words after them.
        max_words: Number of words to return.
        max_texts: Number of texts to read.
    """
    starts = [text[:MAX_CHARACTERS].lower().split(maxsplit=max_length)[:max_length] for text in texts[:max_texts]]
    counts = Counter(word for words in starts for word in words if len(word) <= MAX_WORD_CHARACTERS)
    return [word for word, _ in counts.most_common(max_words)]
