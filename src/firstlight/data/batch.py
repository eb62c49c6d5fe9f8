"""Type of a batch, and functions that datasets share to assemble one."""

from collections.abc import Sequence
from typing import Any

import torch

Batch = dict[str, Any]

# Label of samples that cross_entropy ignores: torch's default.
IGNORE_INDEX = -100


def identity_collate(batch: list[Any]) -> Batch:
    """Return a batch unchanged: a dataset with `__getitems__` has already collated it."""
    return batch  # type: ignore[return-value]


def to_index_tensor(indices: Sequence[int]) -> torch.Tensor:
    """Return indices as an int64 tensor of shape (batch,)."""
    return torch.as_tensor(indices, dtype=torch.int64)
