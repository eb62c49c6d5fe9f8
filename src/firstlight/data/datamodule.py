"""What every data set has in common: one class, four loaders."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, default_collate

from firstlight.data.dataloader import ResumableDataLoader, get_default_num_workers, init_worker
from firstlight.data.labels import validate_labels
from firstlight.data.sampler import ResumableSampler, ShuffleSampler

Batch = dict[str, Any]

# The label that torch's cross_entropy leaves out.
IGNORE_INDEX = -100


class ClassificationDataModule(LightningDataModule, ABC):
    """A labelled data set, split into "train", "val" and "test".

    A batch is a dictionary: "inputs" (what the model reads), "labels" (batch,) int64 and "ids" (batch,) int64,
    the sample's position in its split.

    A final class says what it yields and reads its samples; it downloads in `prepare_data` alone.

    Args:
        batch_size: samples per step.
        num_workers: processes that read samples; None chooses for the platform.
        drop_last: leave out the last training batch when it is shorter than the others:
            shapes stay fixed, and batch normalisation never meets a single sample.

    Raises:
        ValueError: a batch of no sample, or less than no process.
    """

    modality: ClassVar[str]
    # Sets held in memory need no worker processes.
    in_memory: ClassVar[bool] = True
    # How long a batch of a worker process may take before the run gives up.
    worker_timeout_s: ClassVar[float] = 300

    def __init__(self, batch_size: int, num_workers: int | None, drop_last: bool) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"A batch holds at least one sample, but data.batch_size={batch_size}")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"data.num_workers is 0 or more, or null, but it is {num_workers}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.drop_last = drop_last
        # That of the run, which is seeded before its data.
        self.run_seed = torch.initial_seed()
        self.class_names: list[str] = []
        self.datasets: dict[str, Dataset[Any]] = {}

    @abstractmethod
    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names, and the data sets "train", "val" and "test"; nothing is downloaded.

        A sample's label is the position of its class among the names.

        Raises:
            ValueError: the data is not there, or cannot be read.
        """

    @abstractmethod
    def load_predict_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return an id for each unlabelled input under a path, and the data set of them.

        An input that cannot be read keeps its place there, with the id -1.

        Raises:
            ValueError: there is nothing to read.
        """

    @abstractmethod
    def get_read_error(self, name: str) -> str:
        """Return why the input with this id could not be read."""

    @property
    @abstractmethod
    def model_kwargs(self) -> dict[str, Any]:
        """What a model must know of the data to be built, by the names of its arguments."""

    def setup(self, stage: str | None = None) -> None:
        """Read the three splits, once.

        Raises:
            ValueError: one is empty, or has a label without a class.
        """
        if not self.class_names and stage != "predict":
            self.class_names, datasets = self.load_splits()
            self.datasets |= datasets
            for name, dataset in datasets.items():
                if not len(dataset):  # type: ignore[arg-type]
                    raise ValueError(f"The {name} split is empty: give {type(self).__name__} more samples")
                if (labels := getattr(dataset, "labels", None)) is not None:
                    validate_labels(name, labels, self.class_names)

    @property
    def rank_and_world_size(self) -> tuple[int, int]:
        """The number of this device, from 0, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def make_dataloader(self, dataset: Dataset[Any], order: ResumableSampler | None = None) -> DataLoader[Any]:
        """Return the loader of a data set, in batches of `batch_size` samples on this device.

        Args:
            dataset: all samples of a split.
            order: this device's order of training; None reads this device's share of an evaluation, one after another.
        """
        rank, devices = self.rank_and_world_size
        workers = self.num_workers
        if workers is None:
            workers = 0 if self.in_memory else max(get_default_num_workers() // devices, 1)
        too_small_to_drop = len(dataset) <= self.batch_size * devices  # type: ignore[arg-type]
        if order is None and devices > 1:
            dataset = EvalShard(dataset, rank, devices)
        return (ResumableDataLoader if order else DataLoader)(
            dataset,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=order is not None and self.drop_last and not too_small_to_drop,
            num_workers=workers,
            worker_init_fn=init_worker,
            timeout=self.worker_timeout_s if workers else 0,
            # A data set with __getitems__ hands out whole batches; torch's default stacks single samples.
            collate_fn=identity_collate if hasattr(dataset, "__getitems__") else None,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            # Pinned memory speeds copies to CUDA only; on MPS it warns and is ignored.
            pin_memory=torch.cuda.is_available(),
            # Its own: reading data takes nothing from the chance that the training draws on.
            generator=torch.Generator().manual_seed(self.run_seed),
        )

    def make_sampler(self, dataset: Dataset[Any]) -> ResumableSampler:
        """Return the order in which training reads the samples."""
        return ShuffleSampler(len(dataset), self.batch_size, self.run_seed, *self.rank_and_world_size)  # type: ignore[arg-type]

    def set_predict_inputs(self, path: str) -> list[str]:
        """Make the unlabelled inputs under a path what `predict` reads; return an id for each.

        Raises:
            ValueError: there is nothing to read.
        """
        names, self.datasets["predict"] = self.load_predict_inputs(Path(path))
        return names

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled training batches, those that are left of the epoch where a training goes on."""
        dataset = self.datasets["train"]
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            return self.make_dataloader(dataset)  # the first ones, each time
        loader = self.make_dataloader(dataset, self.make_sampler(dataset))
        if self.trainer:
            loader.resume_position = self.resume_position  # type: ignore[attr-defined]
        return loader

    def resume_position(self) -> tuple[int, int]:
        """Return the epoch in which the training is, and the batches of it that are done."""
        assert self.trainer is not None
        loop: Any = self.trainer.fit_loop
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.processed

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self.make_dataloader(self.datasets["val"])

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self.make_dataloader(self.datasets["test"])

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the batches of what `take_inputs` found."""
        return self.make_dataloader(self.datasets["predict"])


# DistributedSampler also repeats samples, but lets the repeated ones count: its metrics are not exact.
class EvalShard(Dataset[Any]):
    """The samples that one of several devices evaluates: as many on each, so that none waits for another's batch.

    What is read twice for that has the label `IGNORED` and the id -1: it counts nothing.
    """

    def __init__(self, dataset: Dataset[Any], rank: int, devices: int) -> None:
        """Keep the data set and whose share of it this is."""
        self.dataset: Any = dataset
        self.rank, self.devices = rank, devices

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.devices)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        wanted = to_index_tensor(indices) * self.devices + self.rank
        within = (wanted % len(self.dataset)).tolist()
        whole = hasattr(self.dataset, "__getitems__")
        batch = self.dataset.__getitems__(within) if whole else default_collate([self.dataset[each] for each in within])
        twice = wanted >= len(self.dataset)
        for name, mark in {"labels": IGNORE_INDEX, "ids": -1}.items() if twice.any() else ():
            batch[name] = batch[name].masked_fill(twice.to(batch[name].device), mark)
        return batch


def identity_collate(batch: list[Any]) -> Batch:
    """Pass on what a data set with `__getitems__` has already put together."""
    return batch  # type: ignore[return-value]


def to_index_tensor(indices: Sequence[int]) -> torch.Tensor:
    """Return indices as an int64 tensor, shape (batch,)."""
    return torch.as_tensor(indices, dtype=torch.int64)
