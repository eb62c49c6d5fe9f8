"""What every data set has in common: one class, four loaders."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from firstlight.device import cores

Batch = dict[str, Any]


class Data(LightningDataModule, ABC):
    """A labelled data set, split into "train", "val" and "test".

    A batch is a dictionary: "inputs" (what the model reads), "labels" (batch,) int64 and "ids" (batch,) int64,
    the sample's position in its split.

    A final class says what it yields and reads its samples; it downloads in `prepare_data` alone.
    """

    yields: ClassVar[str]
    # Sets held in memory need no worker processes.
    in_memory: ClassVar[bool] = True

    def __init__(self, batch_size: int, num_workers: int | None, drop_last: bool) -> None:
        """Keep the settings of the loaders.

        Args:
            batch_size: samples per step.
            num_workers: processes that read samples; None chooses for the platform.
            drop_last: leave out the last training batch when it is shorter than the others:
                shapes stay fixed, and batch normalisation never meets a single sample.
        """
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"A batch holds at least one sample, but data.batch_size={batch_size}")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"data.num_workers is 0 or more, or null, but it is {num_workers}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.class_names: list[str] = []
        self.datasets: dict[str, Dataset[Any]] = {}

    @abstractmethod
    def read(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names, and the data sets "train", "val" and "test" (and nothing downloaded)."""

    @abstractmethod
    def read_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return an id for each unlabelled input under a path, and the data set of them.

        An input that cannot be read keeps its place there, with the id -1.
        """

    @abstractmethod
    def why_unreadable(self, name: str) -> str:
        """Return why the input with this id could not be read."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a model must know of the data to be built, by the names of its arguments."""

    def setup(self, stage: str | None = None) -> None:
        """Read the three splits, once."""
        if not self.class_names and stage != "predict":
            self.class_names, datasets = self.read()
            self.datasets |= datasets
            for name, dataset in datasets.items():
                if not len(dataset):  # type: ignore[arg-type]
                    raise ValueError(f"The {name} split is empty: give {type(self).__name__} more samples")

    def loader(self, dataset: Dataset[Any], training: bool = False) -> DataLoader[Any]:
        """Return the loader of one data set; training shuffles."""
        workers = self.num_workers
        if workers is None:
            workers = 0 if self.in_memory else sensible_workers()
        too_small_to_drop = len(dataset) <= self.batch_size  # type: ignore[arg-type]
        order = self.training_order(dataset) if training else None
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=training and order is None,
            sampler=order,
            drop_last=training and self.drop_last and not too_small_to_drop,
            num_workers=workers,
            # A data set with __getitems__ hands out whole batches; torch's default stacks single samples.
            collate_fn=whole_batch if hasattr(dataset, "__getitems__") else None,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            # Pinned memory speeds copies to CUDA only; on MPS it warns and is ignored.
            pin_memory=torch.cuda.is_available(),
        )

    def training_order(self, dataset: Dataset[Any]) -> Sampler[int] | None:
        """Return the order in which training reads the samples; None for a plain shuffle."""
        return None

    def take_inputs(self, path: str) -> list[str]:
        """Make the unlabelled inputs under a path what `predict` reads; return an id for each.

        Raises:
            ValueError: there is nothing to read.
        """
        names, self.datasets["predict"] = self.read_inputs(Path(path))
        return names

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled training batches."""
        return self.loader(self.datasets["train"], training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self.loader(self.datasets["val"])

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self.loader(self.datasets["test"])

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the batches of what `take_inputs` found."""
        return self.loader(self.datasets["predict"])


def whole_batch(batch: list[Any]) -> Batch:
    """Pass on what a data set with `__getitems__` has already put together."""
    return batch  # type: ignore[return-value]


def sensible_workers() -> int:
    """Return the number of loader processes for this machine."""
    # macOS starts each worker as a fresh interpreter that imports torch again: seconds and memory apiece.
    return min(cores(), 4 if sys.platform == "darwin" else 16)


def as_indices(indices: Sequence[int]) -> torch.Tensor:
    """Return indices as an int64 tensor, shape (batch,)."""
    return torch.as_tensor(indices, dtype=torch.int64)
