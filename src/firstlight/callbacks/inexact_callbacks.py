"""Callbacks with which a resumed run would differ from an undisturbed one, so that resuming is rejected."""

from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelPruning

# Class -> reason. In Lightning 2.6, all of these keep their state outside checkpoints.
INEXACT_CALLBACKS: dict[type[Callback], str] = {
    ModelPruning: "a checkpoint has the pruned weights, but not which of them stay pruned",
    BatchSizeFinder: "it would search for the batch size again, and its result depends on the free memory",
    LearningRateFinder: "it would search for the learning rate again, with the trained weights",
}


def find_inexact_callbacks(trainer: Any) -> dict[str, str]:
    """Return the name and the reason of each callback with which a run cannot be resumed exactly."""
    return {
        type(callback).__name__: reason
        for callback in trainer.callbacks
        for inexact_class, reason in INEXACT_CALLBACKS.items()
        if isinstance(callback, inexact_class)
    }
