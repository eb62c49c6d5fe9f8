"""Which loops of the Trainer a module and its datamodule support, and how many samples a loop has evaluated."""

from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden


def find_missing_hooks(model: LightningModule, data: LightningDataModule | None, loop: str) -> list[str]:
    """Return what a loop needs and neither the module nor its datamodule defines, such as "test_step".

    Args:
        model: The module.
        data: The datamodule; None: the module has the dataloaders.
        loop: "validation", "test" or "predict".
    """
    loader = {"validation": "val"}.get(loop, loop) + "_dataloader"
    owners: list[Any] = [model] if data is None else [data, model]
    missing = [] if is_overridden(f"{loop}_step", model) or loop == "predict" else [f"{loop}_step"]
    return missing + ([] if any(is_overridden(loader, owner) for owner in owners) else [loader])


def count_evaluated_samples(trainer: Trainer, loop: str) -> tuple[int, int] | None:
    """Return how many samples the last evaluation has read, and how many there are; None for a stream.

    Args:
        trainer: The trainer, after the evaluation on one device.
        loop: "validation" or "test".
    """
    if loop == "test":
        loaders, limits = trainer.test_dataloaders, trainer.num_test_batches
    else:
        loaders, limits = trainer.val_dataloaders, trainer.num_val_batches
    total = num_read = 0
    for loader, limit in zip(CombinedLoader(loaders, "sequential").flattened, limits, strict=True):
        try:
            size, num_batches = len(loader.dataset), len(loader)
        except (TypeError, AttributeError):
            return None
        total += size
        num_read += size if limit >= num_batches else int(limit) * (getattr(loader, "batch_size", None) or 1)
    return num_read, total
