"""Type of a batch, functions that datasets share to assemble one, and the number of its samples."""

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


def count_samples(trainer: Any, batch: Any) -> int | None:
    """Return the number of samples of a training batch on this device, or None if it is unknown.

    The first dimension of a tensor may count atoms or edges, so that only these are asked, in this order: `num_samples`
    of the module or the datamodule, the "ids" of the engine's own batches, and the batch size of the loader.

    Args:
        trainer: Trainer of the run.
        batch: The batch.
    """
    for owner in (trainer.lightning_module, trainer.datamodule):
        if callable(getattr(owner, "num_samples", None)):  # datasets have a setting of this name
            return int(owner.num_samples(batch))
    if isinstance(batch, dict) and "inputs" in batch and "ids" in batch:
        return len(batch["ids"])
    loader = trainer.train_dataloader
    batch_size = getattr(loader, "batch_size", None)
    if not isinstance(batch_size, int):
        return None
    if getattr(loader, "drop_last", False) or not trainer.is_last_batch or not hasattr(loader, "sampler"):
        return batch_size
    try:
        return len(loader.sampler) - (len(loader) - 1) * batch_size  # the last batch may be smaller
    except TypeError:  # the dataset has no length
        return batch_size
