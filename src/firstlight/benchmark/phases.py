"""The phases of a benchmark: which loop of the Trainer runs them, and on which batch."""

from dataclasses import dataclass
from typing import Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden

from firstlight.data.datamodule import LabeledDataModule
from firstlight.trainer.loops import find_missing_hooks


@dataclass(frozen=True)
class Loop:
    """A loop of the Trainer.

    Attributes:
        method: Method of the Trainer.
        hook: Step of the module.
        split: Prefix of the dataloader hook.
        stage: Argument of the setup hook.
    """

    method: str
    hook: str
    split: str
    stage: str


FIT = Loop("fit", "training_step", "train", "fit")
VALIDATE = Loop("validate", "validation_step", "val", "validate")
TEST = Loop("test", "test_step", "test", "test")
PREDICT = Loop("predict", "predict_step", "predict", "predict")


def select_loop(model: LightningModule, data: LightningDataModule | None, phase: str) -> Loop | str:
    """Return the loop that runs a phase, or the reason why the module does not support the phase.

    Args:
        model: The module.
        data: The datamodule; None: the module has the dataloaders.
        phase: "train", "eval" or "predict".
    """
    name = type(model).__name__
    if phase == "train":
        return FIT
    if phase == "eval":
        if not find_missing_hooks(model, data, "test"):
            return TEST
        if not find_missing_hooks(model, data, "validation"):
            return VALIDATE
        return f"{name} and its data support neither test nor validation"
    if not is_overridden("predict_step", model):
        return f"{name} has no predict_step"
    if find_missing_hooks(model, data, "predict"):
        return f"{name} and its data have no predict_dataloader"
    return PREDICT


def load_batches(model: LightningModule, data: LightningDataModule | None, loop: Loop) -> tuple[list[Any], int]:
    """Return the first batch of each loader of a loop, and the number of samples of the first one, or 0 if unknown.

    The first dimension of a tensor may count atoms or edges, so that only `num_samples` of the module or the datamodule
    and the batch size of the loader are asked.
    """
    # All splits of the engine's datasets have the same samples per batch.
    loop = FIT if isinstance(data, LabeledDataModule) else loop
    owners: list[Any] = [model] if data is None else [data, model]
    owner = next(owner for owner in owners if is_overridden(f"{loop.split}_dataloader", owner))
    if not isinstance(data, LabeledDataModule):
        owner.prepare_data()
        owner.setup(loop.stage)
    loaders = getattr(owner, f"{loop.split}_dataloader")()
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")
    # A training step takes one batch of all loaders, an evaluation step one batch of one loader.
    batches = [next(iter(combined))[0]] if loop is FIT else [next(iter(loader)) for loader in combined.flattened]
    for counter in (model, data):
        if callable(count := getattr(counter, "num_samples", None)):
            return batches, int(count(batches[0]))
    if isinstance(batches[0], dict) and "inputs" in batches[0] and "ids" in batches[0]:
        return batches, len(batches[0]["ids"])
    first = loaders if loop is FIT else combined.flattened[0]
    sizes = [getattr(source, "batch_size", None) for source in (first, data)]
    return batches, next((size for size in sizes if isinstance(size, int)), 0)


def move_batch(model: LightningModule, data: LightningDataModule | None, batch: Any, device: Any) -> Any:
    """Return a batch on a device, so that no transfer is measured, unless a hook of the user moves it."""
    owners = [model] if data is None else [data, model]
    has_hook = any(is_overridden("transfer_batch_to_device", owner) for owner in owners)
    return batch if has_hook else move_data_to_device(batch, device)
