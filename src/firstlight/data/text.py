"""Text: cut into tokens once, then padded batch by batch."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch.utils.data import Dataset

from firstlight.data.datamodule import ClassificationDataModule
from firstlight.data.sampler import LengthGroupedSampler, ResumableSampler
from firstlight.data.split import stratified_split
from firstlight.data.tabular import iter_texts
from firstlight.data.token_cache import tokenize_cached
from firstlight.data.token_dataset import RaggedTokens, TokenDataset
from firstlight.data.tokenization import TokenizerLike, tokenize

LabeledTexts = tuple[list[str], Sequence[int]]


class TextDataModule(ClassificationDataModule):
    """Labelled texts.

    "inputs" of a batch are {"input_ids", "attention_mask"}, both int64 (batch, tokens). The tokens are those of
    the model's own tokenizer, which `connect` brings.

    Args:
        max_length: tokens that are read of each text; the rest is cut off.
        pad_to_multiple_of: a batch is padded to its longest text, rounded up to a multiple of this. Few different shapes
            keep compiled kernels and MPS's graph cache few; max_length gives one shape.
        batch_size: texts per step.
        num_workers: processes that read; None chooses for the platform.
        drop_last: leave out a short last training batch.
        group_by_length: put texts of similar length into the same training batch; which ones, and the order
            of the batches, stay random. Without effect where all texts are padded to one length.

    Raises:
        ValueError: too few tokens for a word.
    """

    modality: ClassVar[str] = "text"
    # Column that holds the text in files, those to predict included.
    text_column: str = "text"

    # Where the tokens of large sets are kept.
    tokens_dir: ClassVar[Path] = Path("data/tokens")

    def __init__(
        self,
        max_length: int,
        pad_to_multiple_of: int,
        batch_size: int,
        num_workers: int | None,
        drop_last: bool,
        group_by_length: bool,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, drop_last=drop_last)
        if max_length < 3:
            raise ValueError(f"A text has at least 3 tokens ([CLS], one word, [SEP]), but data.max_length={max_length}")
        self.max_length = max_length
        self.pad_to_multiple_of = pad_to_multiple_of
        self.group_by_length = group_by_length
        self.tokenizer: TokenizerLike | None = None
        self.texts: dict[str, LabeledTexts] = {}

    @abstractmethod
    def load_texts(self) -> tuple[list[str], dict[str, LabeledTexts]]:
        """Return the class names and, by split, the texts and their labels, positions among the names.

        Raises:
            ValueError: the data is not there, or cannot be read.
        """

    @property
    def model_kwargs(self) -> dict[str, Any]:
        """Class names, and the commonest words for a model that brings no vocabulary of its own."""
        return {
            "class_names": self.class_names,
            "vocabulary": find_most_common_words(self.texts["train"][0], self.max_length),
        }

    def set_tokenizer(self, tokenizer: TokenizerLike) -> None:
        """Cut the texts by a model's tokenizer from now on."""
        self.tokenizer = tokenizer
        for name, (texts, labels) in self.texts.items():
            self.datasets[name] = self.make_dataset(texts, labels)

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names and the data sets, whose tokens come with `connect`, before this or after it."""
        class_names, self.texts = self.load_texts()
        return class_names, {
            name: self.make_dataset(texts, labels)
            if self.tokenizer
            else TokenDataset(RaggedTokens.from_lists([[]] * len(texts)), labels)
            for name, (texts, labels) in self.texts.items()
        }

    def load_predict_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return the number of each row of a CSV or JSON Lines file, from 1, and the data set of their texts.

        Raises:
            ValueError: the file has no row, or no column of texts.
        """
        self.rows = list(iter_texts(path, self.text_column))
        if not self.rows:
            raise ValueError(f"{path} holds no row: give a file with at least one text")
        texts = [text or "" for text, _ in self.rows]
        ids = [index if text is not None else -1 for index, (text, _) in enumerate(self.rows)]
        return [str(index + 1) for index in range(len(texts))], self.make_dataset(texts, None, ids)

    def get_read_error(self, name: str) -> str:
        """Return what is wrong with this row."""
        return f"row {name}: {self.rows[int(name) - 1][1]}"

    def make_dataset(
        self, texts: list[str], labels: Sequence[int] | None, ids: Sequence[int] | None = None
    ) -> TokenDataset:
        """Return texts as a data set of tokens.

        Args:
            texts: the texts.
            labels: class of each; None for texts to predict.
            ids: number of each, -1 for one that could not be read; None counts from 0.
        """
        assert self.tokenizer is not None, "connect() comes before tokens()"
        # Texts to predict are read once: not worth a file.
        token_ids = (
            tokenize(texts, self.tokenizer, self.max_length)
            if labels is None
            else tokenize_cached(texts, self.tokenizer, self.max_length, self.tokens_dir)
        )
        return TokenDataset(
            token_ids, labels, ids, self.tokenizer.pad_token_id, self.pad_to_multiple_of, self.max_length
        )

    def make_sampler(self, dataset: Dataset[Any]) -> ResumableSampler:
        """Return the order that groups texts by length, where they differ in it and that is wanted."""
        if self.group_by_length and isinstance(dataset, TokenDataset):
            lengths = dataset.padded_lengths
            if (lengths != lengths[0]).any():
                return LengthGroupedSampler(lengths, self.batch_size, self.run_seed, *self.rank_and_world_size)
        return super().make_sampler(dataset)


def split_texts(
    texts: list[str], labels: Sequence[int], val_fraction: float, test_fraction: float
) -> dict[str, LabeledTexts]:
    """Return texts and labels by split, each class in the same proportion.

    Args:
        texts: all texts.
        labels: class of each.
        val_fraction: share of them for validation, 0 to 1.
        test_fraction: share of them for the test, 0 to 1; the rest is for training.
    """
    chosen = stratified_split(labels, val_fraction, test_fraction)
    return {name: ([texts[i] for i in indices], [int(labels[i]) for i in indices]) for name, indices in chosen.items()}


def add_missing_splits(splits: Mapping[str, LabeledTexts]) -> dict[str, LabeledTexts]:
    """Return train, val and test; of val and test, what is missing becomes a tenth of train each."""
    missing = {name: 0.0 if name in splits else 0.1 for name in ("val", "test")}
    return {**splits, **split_texts(*splits["train"], missing["val"], missing["test"])}


def find_most_common_words(texts: list[str], length: int, most: int = 8000, sample: int = 2000) -> list[str]:
    """Return the commonest lower-case words at the start of the first texts, the commonest first.

    Args:
        texts: the texts.
        length: words that count of each text: what is cut off later is never seen.
        most: words to return.
        sample: texts to look at.
    """
    counts = Counter(word for text in texts[:sample] for word in text.lower().split(maxsplit=length)[:length])
    return [word for word, _ in counts.most_common(most)]
