"""Batches for a check outside a training run: of the engine's datasets, and of any other datamodule."""

import copy
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader

from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.text import TextDataModule

# Samples that are read from the dataset; the batch dimension is then expanded to the batch size. A prime number,
# because other dimensions rarely have that size.
NUM_SAMPLES = 7


def shallow_copy_datamodule(data: LabeledDataModule) -> LabeledDataModule:
    """Return a shallow copy of a datamodule, whose datasets and trainer can be replaced without side effects."""
    data_copy = copy.copy(data)
    data_copy.num_workers = 0
    data_copy.datasets = dict(data.datasets)
    return data_copy


def load_plain_batch(model: LightningModule, data: LightningDataModule | None, phase: str) -> tuple[Any, None]:
    """Return the first batch of a module's own dataloaders or of a datamodule, whose hooks are called."""
    owner: Any = model if data is None else data
    if phase == "training":
        owner.prepare_data()
        owner.setup("fit")
    loaders = owner.train_dataloader() if phase == "training" else owner.val_dataloader()
    loaders = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")
    # A training step takes one batch of all loaders, an evaluation step one batch of one loader.
    batch = next(iter(loaders))[0] if phase == "training" else next(iter(loaders.flattened[0]))
    return batch, None


def load_sample_batch(data: LabeledDataModule, training: bool) -> tuple[Any, int]:
    """Return a small batch, with texts padded to their maximum length, and its number of samples."""
    data_copy = shallow_copy_datamodule(data)
    split = "train" if training else "val"
    data_copy.batch_size = min(NUM_SAMPLES, len(data_copy.datasets[split]))  # type: ignore[arg-type]
    if isinstance(data, TextDataModule):
        data_copy.datasets[split] = copy.copy(data_copy.datasets[split])
        data_copy.datasets[split].pad_to_multiple_of = data.max_length  # type: ignore[attr-defined]
    dataloader = data_copy.train_dataloader() if training else data_copy.val_dataloader()
    return next(iter(dataloader)), data_copy.batch_size
