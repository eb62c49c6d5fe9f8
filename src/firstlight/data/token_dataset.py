"""Token IDs of many texts in one array, returned as padded batches."""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from firstlight.data.batch import Batch, to_index_tensor


class RaggedTokens(NamedTuple):
    """Rows of different lengths, concatenated: row i is values[offsets[i] : offsets[i + 1]]."""

    offsets: Tensor  # (rows + 1,) int64
    values: Tensor  # (tokens,) int32

    @classmethod
    def from_lists(cls, rows: Sequence[Any]) -> "RaggedTokens":
        """Concatenate token IDs.

        Args:
            rows: Lists of token IDs, or objects that have such a list in `ids`. The lists of these exist one at a time.
        """
        offsets = torch.tensor(list(accumulate(map(len, rows), initial=0)))
        ids = (getattr(row, "ids", row) for row in rows)
        values = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(offsets[-1]))
        return cls(offsets, torch.from_numpy(values))

    @classmethod
    def empty(cls, num_rows: int) -> "RaggedTokens":
        """Return rows without tokens."""
        return cls(torch.zeros(num_rows + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32))

    @classmethod
    def concatenate(cls, chunks: Sequence["RaggedTokens"]) -> "RaggedTokens":
        """Concatenate the rows of all chunks."""
        lengths = torch.cat([chunk.lengths for chunk in chunks])
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        return cls(offsets, torch.cat([chunk.values for chunk in chunks]))

    @property
    def lengths(self) -> Tensor:
        """Length of each row, shape (rows,) int64."""
        return self.offsets.diff()


class TokenDataset(Dataset[Any]):
    """Texts as token IDs. `__getitems__` returns a batch that is padded to its longest text.

    The "inputs" of a batch are {"input_ids", "attention_mask"}, both int64 (batch, tokens).

    Args:
        tokens: Token IDs of each text.
        labels: Label of each text. If None, batches have no labels.
        ids: ID of each text. If None, its index.
        pad_token_id: Token ID of the padding.
        pad_to_multiple_of: The padded length is rounded up to a multiple of this.
        max_length: Maximum padded length.
        label_dtype: Dtype of the labels.
    """

    def __init__(
        self,
        tokens: RaggedTokens,
        labels: Any,
        ids: Sequence[int] | None = None,
        pad_token_id: int = 0,
        pad_to_multiple_of: int = 1,
        max_length: int = 1,
        label_dtype: torch.dtype = torch.int64,
    ) -> None:
        self.offsets, self.token_ids = tokens
        self.labels = None if labels is None else torch.as_tensor(labels, dtype=label_dtype)
        self.ids = torch.arange(len(self.offsets) - 1) if ids is None else to_index_tensor(ids)
        self.pad_token_id = pad_token_id
        self.pad_to_multiple_of = pad_to_multiple_of
        self.max_length = max_length

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def padded_lengths(self) -> Tensor:
        """Length of each text in a batch without other texts, shape (texts,) int64."""
        return self._round_up_length(self.offsets.diff())

    def _round_up_length(self, lengths: Tensor) -> Tensor:
        return (-(-lengths // self.pad_to_multiple_of) * self.pad_to_multiple_of).clamp(max=self.max_length)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = to_index_tensor(indices)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        columns = torch.arange(int(self._round_up_length(lengths.max())))
        mask = columns < lengths.unsqueeze(1)  # (batch, tokens)
        # Positions past the end read the next text, or repeat the last token of the dataset. The mask hides them.
        positions = (starts.unsqueeze(1) + columns).clamp_(max=len(self.token_ids) - 1)
        # index_select instead of token_ids[positions], which would start all threads for every batch.
        token_ids = self.token_ids.index_select(0, positions.flatten()).view(positions.shape)
        input_ids = token_ids.long().masked_fill_(~mask, self.pad_token_id)  # (batch, tokens)
        inputs = {"input_ids": input_ids, "attention_mask": mask.long()}
        batch = {"inputs": inputs, "ids": self.ids[chosen]}
        return batch if self.labels is None else {**batch, "labels": self.labels[chosen]}
