"""Token ids of many texts in one array, handed out as padded batches."""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from firstlight.data.datamodule import Batch, to_index_tensor


class RaggedTokens(NamedTuple):
    """Rows of different lengths, end to end: row i is values[starts[i] : starts[i + 1]]."""

    offsets: Tensor  # (rows + 1,) int64
    values: Tensor  # (tokens,) int32

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "RaggedTokens":
        """Return lists of ids as one array."""
        starts = torch.tensor(list(accumulate(map(len, rows), initial=0)))
        values = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(starts[-1]))
        return cls(starts, torch.from_numpy(values))

    @classmethod
    def concatenate(cls, parts: Sequence["RaggedTokens"]) -> "RaggedTokens":
        """Return the rows of all parts, one after the other."""
        lengths = torch.cat([each.lengths for each in parts])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        return cls(starts, torch.cat([each.values for each in parts]))

    @property
    def lengths(self) -> Tensor:
        """Length of each row, shape (rows,) int64."""
        return self.offsets.diff()


class TokenDataset(Dataset[Any]):
    """Texts as token ids: `__getitems__` returns a batch, padded to its longest text.

    "inputs" of a batch are {"input_ids", "attention_mask"}, both int64 (batch, tokens).
    """

    def __init__(
        self,
        token_ids: RaggedTokens,
        labels: Sequence[int] | None,
        ids: Sequence[int] | None = None,
        padding: int = 0,
        pad_to_multiple_of: int = 1,
        max_length: int = 1,
    ) -> None:
        """Keep the ids of each text, its label (None where there is none) and its own id (its position)."""
        self.offsets, self.token_ids = token_ids
        self.labels = None if labels is None else torch.as_tensor(labels, dtype=torch.int64)
        self.ids = torch.arange(len(self.offsets) - 1) if ids is None else to_index_tensor(ids)
        self.padding = padding
        self.pad_to_multiple_of = pad_to_multiple_of
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def padded_lengths(self) -> Tensor:
        """Length of each text in a batch of its own, shape (texts,) int64."""
        return self._round_up_length(self.offsets.diff())

    def _round_up_length(self, lengths: Tensor) -> Tensor:
        return (-(-lengths // self.pad_to_multiple_of) * self.pad_to_multiple_of).clamp(max=self.max_length)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = to_index_tensor(indices)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        length = int(self._round_up_length(lengths.max()))
        columns = torch.arange(length)
        mask = columns < lengths.unsqueeze(1)  # (batch, tokens)
        # Behind its end a row reads the next text, and the last text of all itself: the mask hides both.
        places = (starts.unsqueeze(1) + columns).clamp_(max=len(self.token_ids) - 1)
        # Not token_ids[places]: that wakes all threads for each batch.
        read = self.token_ids.index_select(0, places.flatten()).view(places.shape)
        input_ids = read.long().masked_fill_(~mask, self.padding)  # (batch, tokens)
        inputs = {"input_ids": input_ids, "attention_mask": mask.long()}
        batch = {"inputs": inputs, "ids": self.ids[chosen]}
        return batch if self.labels is None else {**batch, "labels": self.labels[chosen]}
