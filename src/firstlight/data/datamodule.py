"""Base class of all datasets: four dataloaders over the splits "train", "val", "test" and "predict"."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader, Dataset

from firstlight.data.batch import identity_collate
from firstlight.data.dataloader import (
    ResumableDataLoader,
    get_default_num_workers,
    get_resume_position,
    init_worker,
    prepare_workers,
    validate_num_workers,
)
from firstlight.data.eval_shard import EvalShard, EvalShardSampler
from firstlight.data.labels import LABEL_DTYPES, get_balanced_labels, summarize_labels, validate_task
from firstlight.data.predict_inputs import find_input_paths
from firstlight.data.sampler import BalancedSampler, OverfitSampler, ResumableSampler, ShuffleSampler
from firstlight.data.split_datamodule import SplitDataModule
from firstlight.run.errors import ConfigError, DataError, invalid_value


class LabeledDataModule(SplitDataModule):
    """A labeled dataset with the splits "train", "val" and "test".

    A batch is a dictionary: "inputs" (what the model takes), "labels", and "ids" (batch,) int64, the index of each
    sample in its split. The task determines the labels:

    - "classification": the index of the class, shape (batch,) int64.
    - "multilabel": 0 or 1 for each label, shape (batch, labels) float32.
    - "regression": a number, shape (batch,) float32.

    A subclass sets `modality` and loads its samples. It downloads only in `prepare_data`.

    Args:
        batch_size: Samples per step and device.
        num_workers: DataLoader workers. If None, chosen for the platform.
        drop_last: Whether to drop an incomplete last training batch. Shapes are then constant, and BatchNorm never
            gets a single sample.
        balanced_sampler: Whether to draw the training samples of each class equally often. See `BalancedSampler`.

    Raises:
        ConfigError: If `batch_size` is less than 1 or `num_workers` is negative.
        HardwareError: If this process may not open the files that the workers need.
    """

    # "images" or "text": the models that accept this dataset.
    modality: ClassVar[str]
    # A dataset in memory needs no DataLoader workers.
    in_memory: ClassVar[bool] = True
    # Maximum time that a DataLoader worker may take for a batch before the run fails.
    worker_timeout_s: ClassVar[float] = 300

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int | None = None,
        drop_last: bool = True,
        balanced_sampler: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(
                invalid_value("data.batch_size", batch_size, "an integer of at least 1", "Use e.g. data.batch_size=32.")
            )
        if num_workers is not None and num_workers < 0:
            expected = "null or an integer of at least 0"
            raise ConfigError(
                invalid_value("data.num_workers", num_workers, expected, "Use e.g. data.num_workers=null.")
            )
        validate_num_workers(num_workers)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.balanced_sampler = balanced_sampler
        # Seed of the run, which is set before the dataset is built.
        self.run_seed = torch.initial_seed()
        # Names and statistics of the labels, known after `setup`.
        self.label_metadata: dict[str, Any] = {}
        self.datasets: dict[str, Dataset[Any]] = {}

    @abstractmethod
    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the names of the classes or labels and the datasets "train", "val" and "test", without downloads.

        For the task "regression", the only name is the name of the target, and the dataset "train" needs an attribute
        `labels` with all targets.

        Raises:
            DataError: If the data is missing or cannot be read.
        """

    @abstractmethod
    def load_predict_inputs(self, paths: list[Path]) -> tuple[list[str], Dataset[Any]]:
        """Return the name of each unlabeled input in these files and directories, and their dataset.

        An input that cannot be read is part of the dataset, with the ID -1.

        Raises:
            DataError: If there is no input.
        """

    @abstractmethod
    def get_read_error(self, name: str) -> str:
        """Return the message that explains why the input with this name cannot be read."""

    @property
    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Plain values that the constructor of a model may name as arguments, such as "class_names"."""

    def setup(self, stage: str | None = None) -> None:
        """Load the three splits, on the first call.

        Raises:
            DataError: If a split is empty, or a label is invalid.
        """
        if self.label_metadata or stage == "predict":
            return
        names, datasets = self.load_splits()
        self.datasets |= datasets
        for name, dataset in datasets.items():
            if not len(dataset) and not self.splitter.is_evaluation:  # type: ignore[arg-type]
                raise DataError(f"The {name} split of {type(self).__name__} is empty. Add samples.")
            if (labels := getattr(dataset, "labels", None)) is not None:
                self.validate_labels(name, labels, names)
        self.print_notes()
        if self.balanced_sampler:
            self.get_balanced_labels(datasets["train"])  # raises before the training
        self.label_metadata = summarize_labels(getattr(datasets["train"], "labels", None), names, self.task)

    def reload_splits(self) -> None:
        """Load the splits again, because the rule that assigns samples has changed."""
        self.label_metadata = {}
        type(self).setup(self, "fit")

    def set_task(self, task: str | None) -> None:
        """Set the task, if it is not None.

        Raises:
            ConfigError: If there is no such task.
        """
        if task is not None:
            validate_task(task)
            self.task = task

    @property
    def class_names(self) -> list[str]:
        """Name of each class after `setup`; empty before, and for any other task."""
        return list(self.label_metadata.get("class_names", []))

    @property
    def label_dtype(self) -> torch.dtype:
        """Dtype of the labels of a batch."""
        return LABEL_DTYPES[self.task]

    @property
    def rank_and_world_size(self) -> tuple[int, int]:
        """Rank of this device, and the number of devices."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def make_dataloader(self, dataset: Dataset[Any], sampler: ResumableSampler | None = None) -> DataLoader[Any]:
        """Return a dataloader with batches of `batch_size` samples on this device.

        Args:
            dataset: All samples of a split.
            sampler: Training sampler of this rank. If None, the evaluation shard of this rank is read sequentially.
        """
        rank, world_size = self.rank_and_world_size
        num_workers = self.num_workers
        if num_workers is None:
            num_workers = 0 if self.in_memory else max(get_default_num_workers() // world_size, 1)
        prepare_workers(num_workers, dataset)
        has_full_batch = len(dataset) > self.batch_size * world_size  # type: ignore[arg-type]
        eval_sampler = None
        is_shuffled = sampler is not None and not isinstance(sampler, OverfitSampler)
        if sampler is None and world_size > 1:
            dataset = EvalShard(dataset, rank, world_size)
            # All samples of the shard, in order. Without this sampler, Lightning would shard the shard again.
            eval_sampler = EvalShardSampler(len(dataset), rank=0, world_size=1)
        return (ResumableDataLoader if sampler else DataLoader)(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler or eval_sampler,
            drop_last=is_shuffled and self.drop_last and has_full_batch,
            num_workers=num_workers,
            worker_init_fn=init_worker,
            timeout=self.worker_timeout_s if num_workers else 0,
            # A dataset with __getitems__ returns complete batches. torch's default_collate stacks single samples.
            collate_fn=identity_collate if hasattr(dataset, "__getitems__") else None,
            persistent_workers=num_workers > 0,
            prefetch_factor=4 if num_workers else None,
            # Pinned memory speeds up copies to CUDA only; MPS warns about it and ignores it.
            pin_memory=torch.cuda.is_available(),
            # A separate generator, so that loading data does not change the random numbers of the training.
            generator=torch.Generator().manual_seed(self.run_seed),
        )

    def make_sampler(self, dataset: Dataset[Any]) -> ResumableSampler:
        """Return the sampler of the training dataset."""
        arguments = self.batch_size, self.run_seed, *self.rank_and_world_size
        if self.balanced_sampler:
            return BalancedSampler(self.get_balanced_labels(dataset), *arguments)
        return ShuffleSampler(len(dataset), *arguments)  # type: ignore[arg-type]

    def get_balanced_labels(self, dataset: Dataset[Any]) -> torch.Tensor:
        """Return the class index of each training sample, shape (samples,), for a balanced sampler."""
        return get_balanced_labels(dataset, self.task, type(self).__name__)

    def set_predict_inputs(self, inputs: str | Sequence[str]) -> list[str]:
        """Load unlabeled inputs for `predict_dataloader`, and return their names.

        Args:
            inputs: A file, a directory, a glob pattern, or a list of these.

        Raises:
            DataError: If there is no input.
        """
        names, self.datasets["predict"] = self.load_predict_inputs(find_input_paths(inputs))
        return names

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled training batches. A resumed run gets the remaining batches of its epoch."""
        dataset: Any = self.datasets["train"]
        sampler = self.make_sampler(dataset)
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            # Not shuffled: the same first batches in each epoch.
            sampler = OverfitSampler(len(dataset), self.batch_size, self.run_seed, *self.rank_and_world_size)
        loader = self.make_dataloader(dataset, sampler)
        if self.trainer:
            loader.resume_position = partial(get_resume_position, self.trainer)  # type: ignore[attr-defined]
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self.make_dataloader(self.datasets["val"])

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self.make_dataloader(self.datasets["test"])

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the inputs that `set_predict_inputs` loaded."""
        return self.make_dataloader(self.datasets["predict"])
