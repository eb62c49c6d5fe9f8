"""Type of a batch, functions that datasets share to assemble one, the shapes of its tensors, and its sample count."""

import dataclasses
from collections.abc import Mapping, Sequence
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


def list_shapes(batch: Any) -> tuple[torch.Size, ...]:
    """Return the shapes of the tensors in a batch, without changing or copying the batch.

    Includes the tensors in mappings, sequences, dataclasses and objects with a method `to`, such as graphs. Lightning
    moves the same types to a device. The shape of a nested tensor is the shape of its values.
    """
    shapes, values = [], [batch]
    seen: dict[int, Any] = {}  # A graph may refer to itself. The values keep their ids from being reused.
    while values:
        value = values.pop()
        if isinstance(value, torch.Tensor):
            shapes.append(value.values().shape if value.is_nested else value.shape)
        elif id(value) not in seen:
            seen[id(value)] = value
            values += list_items(value)
    return tuple(reversed(shapes))


def list_items(value: Any) -> list[Any]:
    """Return the items of a mapping or sequence, or the attributes of a dataclass or an object with a method `to`."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)]
    return list(getattr(value, "__dict__", {}).values()) if hasattr(type(value), "to") else []


def count_samples(trainer: Any, batch: Any) -> int | None:
    """Return the number of samples of a training batch on this device, or None if it is unknown.

    The first dimension of a tensor may count atoms or edges, so that only these are asked, in this order: `num_samples`
    of the module or the datamodule, the "ids" of the engine's own batches, and the batch size of the loader.

    Args:
        trainer: Trainer of the run.
        batch: The batch.
    """
    for owner in (trainer.lightning_module, trainer.datamodule):
        if callable(getattr(owner, "num_samples", None)):
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
