"""A map-style dataset whose random transforms are a function of seed, epoch and index."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from firstlight.data.seeding import fork_seeded_rngs


class SeededDataset(Dataset[Any]):
    """Seed Python, NumPy and torch before each sample of another dataset, and restore their states afterwards.

    It stands in for the other dataset: it has the same attributes, methods, length and class.

    Args:
        dataset: A map-style dataset.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        # Shared memory, so that worker processes which persist see each new epoch.
        epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        vars(self).update(wrapped=dataset, run_seed=seed, shared_epoch=epoch)

    def start_epoch(self, epoch: int) -> None:
        """Set the epoch, in worker processes too."""
        self.shared_epoch[0] = epoch

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        """The class of the other dataset, for isinstance()."""
        return type(vars(self)["wrapped"])

    def __reduce__(self) -> Any:
        return restore_seeded_dataset, (self.wrapped, self.run_seed, self.shared_epoch)

    def __len__(self) -> int:
        return len(self.wrapped)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int | np.integer):
            return self.wrapped[index]  # a key or a slice, which only code of the user asks for
        with self.fork_rngs(int(index)):
            return self.wrapped[index]

    def __getattr__(self, name: str) -> Any:
        found = getattr(vars(self)["wrapped"], name)
        return self.seed_first_index(found) if name == "__getitems__" else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["wrapped"], name, value)

    def seed_first_index(self, load: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that loads a list of samples, seeded by the first of them."""

        def load_seeded(indices: Any) -> Any:
            with self.fork_rngs(indices[0]):
                return load(indices)

        return load_seeded

    def fork_rngs(self, index: int) -> AbstractContextManager[None]:
        """Seed the CPU generators from run, epoch and index, and restore their states on exit."""
        return fork_seeded_rngs(self.run_seed, int(self.shared_epoch), int(index))


def restore_seeded_dataset(dataset: Any, seed: int, epoch: torch.Tensor) -> SeededDataset:
    """Return a `SeededDataset` in a worker process."""
    restored = SeededDataset(dataset, seed)
    vars(restored)["shared_epoch"] = epoch
    return restored
