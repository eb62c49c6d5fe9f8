"""Which loops of the Trainer a module and its datamodule support."""

from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
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
