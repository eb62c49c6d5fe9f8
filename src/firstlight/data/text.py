"""Text: cut into tokens once, then padded batch by batch."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from firstlight.data.module import Batch, Data, as_indices
from firstlight.data.split import stratified
from firstlight.data.table import rows

Texts = tuple[list[str], Sequence[int]]


class Tokenizer(Protocol):
    """What cuts text into token ids: any tokenizer of transformers, for one."""

    pad_token_id: int

    def __call__(self, text: list[str], *, truncation: bool, max_length: int) -> Any:
        """Return {"input_ids": a list of ids for each text}."""


class Text(Data):
    """Labelled texts.

    "inputs" of a batch are {"input_ids", "attention_mask"}, both int64 (batch, tokens). The tokens are those of
    the model's own tokenizer, which `connect` brings.
    """

    yields: ClassVar[str] = "text"
    # Column that holds the text in files, those to predict included.
    text_column: str = "text"

    def __init__(self, max_length: int, pad_to: int, batch_size: int, num_workers: int | None, drop_last: bool) -> None:
        """Keep the settings.

        Args:
            max_length: tokens that are read of each text; the rest is cut off.
            pad_to: a batch is padded to its longest text, rounded up to a multiple of this. Few different shapes
                keep compiled kernels and MPS's graph cache few; max_length gives one shape.
            batch_size: texts per step.
            num_workers: processes that read; None chooses for the platform.
            drop_last: leave out a short last training batch.
        """
        super().__init__(batch_size=batch_size, num_workers=num_workers, drop_last=drop_last)
        if max_length < 3:
            raise ValueError(f"A text has at least 3 tokens ([CLS], one word, [SEP]), but data.max_length={max_length}")
        self.max_length = max_length
        self.pad_to = pad_to
        self.tokenizer: Tokenizer | None = None
        self.texts: dict[str, Texts] = {}

    @abstractmethod
    def read_texts(self) -> tuple[list[str], dict[str, Texts]]:
        """Return the class names and, by split, the texts and their labels."""

    @property
    def facts(self) -> dict[str, Any]:
        """Class names, and the commonest words for a model that brings no vocabulary of its own."""
        return {"class_names": self.class_names, "vocabulary": common_words(self.texts["train"][0], self.max_length)}

    def connect(self, tokenizer: Tokenizer) -> None:
        """Cut the texts by a model's tokenizer from now on."""
        self.tokenizer = tokenizer
        for name, (texts, labels) in self.texts.items():
            self.datasets[name] = self.tokens(texts, labels)

    def read(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names and the data sets, whose tokens come with `connect`."""
        class_names, self.texts = self.read_texts()
        return class_names, {name: Tokens([[]] * len(texts), labels) for name, (texts, labels) in self.texts.items()}

    def read_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return the number of each row of a CSV or JSON Lines file, from 1, and the data set of their texts."""
        self.rows = list(rows(path, self.text_column))
        if not self.rows:
            raise ValueError(f"{path} holds no row: give a file with at least one text")
        texts = [text or "" for text, _ in self.rows]
        ids = [index if text is not None else -1 for index, (text, _) in enumerate(self.rows)]
        return [str(index + 1) for index in range(len(texts))], self.tokens(texts, None, ids)

    def why_unreadable(self, name: str) -> str:
        """Return what is wrong with this row."""
        return f"row {name}: {self.rows[int(name) - 1][1]}"

    def tokens(self, texts: list[str], labels: Sequence[int] | None, ids: Sequence[int] | None = None) -> "Tokens":
        """Return texts as a data set of tokens."""
        assert self.tokenizer is not None, "connect() comes before tokens()"
        cut = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        return Tokens(cut["input_ids"], labels, ids, self.tokenizer.pad_token_id, self.pad_to, self.max_length)


class Tokens(Dataset[Any]):
    """Token ids of many texts in one array, handed out as padded batches."""

    def __init__(
        self,
        token_ids: list[list[int]],
        labels: Sequence[int] | None,
        ids: Sequence[int] | None = None,
        padding: int = 0,
        pad_to: int = 1,
        max_length: int = 1,
    ) -> None:
        """Keep the ids of each text, its label (None where there is none) and its own id (its position)."""
        self.starts = torch.tensor([0, *np.cumsum([len(each) for each in token_ids], dtype=np.int64).tolist()])
        self.token_ids = torch.tensor([token for each in token_ids for token in each], dtype=torch.int32)
        self.labels = None if labels is None else torch.as_tensor(labels, dtype=torch.int64)
        self.ids = torch.arange(len(token_ids)) if ids is None else as_indices(ids)
        self.padding = padding
        self.pad_to = pad_to
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = as_indices(indices)
        starts, ends = self.starts[chosen], self.starts[chosen + 1]
        longest = int((ends - starts).max())
        length = min(-(-longest // self.pad_to) * self.pad_to, self.max_length)
        input_ids = torch.full((len(chosen), length), self.padding)  # (batch, tokens)
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            input_ids[row, : end - start] = self.token_ids[start:end]
        mask = (torch.arange(length) < (ends - starts).unsqueeze(1)).long()  # (batch, tokens)
        batch = {"inputs": {"input_ids": input_ids, "attention_mask": mask}, "ids": self.ids[chosen]}
        return batch if self.labels is None else {**batch, "labels": self.labels[chosen]}


def split_texts(texts: list[str], labels: Sequence[int], val_fraction: float, test_fraction: float) -> dict[str, Texts]:
    """Return texts and labels by split, each class in the same proportion."""
    chosen = stratified(labels, val_fraction, test_fraction)
    return {name: ([texts[i] for i in indices], [int(labels[i]) for i in indices]) for name, indices in chosen.items()}


def with_all_splits(splits: Mapping[str, Texts]) -> dict[str, Texts]:
    """Return train, val and test; of val and test, what is missing becomes a tenth of train each."""
    missing = {name: 0.0 if name in splits else 0.1 for name in ("val", "test")}
    return {**splits, **split_texts(*splits["train"], missing["val"], missing["test"])}


def common_words(texts: list[str], length: int, most: int = 8000, sample: int = 2000) -> list[str]:
    """Return the commonest lower-case words at the start of the first texts, the commonest first.

    Args:
        texts: the texts.
        length: words that count of each text: what is cut off later is never seen.
        most: words to return.
        sample: texts to look at.
    """
    counts = Counter(word for text in texts[:sample] for word in text.lower().split(maxsplit=length)[:length])
    return [word for word, _ in counts.most_common(most)]
