"""Save the config in each checkpoint, so that the model can be rebuilt without the run directory."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.model.task import Task
from firstlight.run.files import ENGINE_KEY
from firstlight.run.redaction import redact

# Constructor arguments that a module or datamodule saves with `save_hyperparameters`.
HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


class SaveConfigInCheckpoint(Callback):
    """Add to each checkpoint the resolved config, and the constructor arguments that the config does not contain.

    Args:
        config: The resolved config as plain values; secrets are masked.
        model_kwargs: Metadata of the dataset that the constructor of the model received.
    """

    def __init__(self, config: dict[str, Any], model_kwargs: dict[str, Any]) -> None:
        self.config = redact(config)
        self.model_kwargs = model_kwargs

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add "config" and "model_kwargs" to the engine's part of the checkpoint."""
        # A model with pretrained weights replaces their name, so that loading the checkpoint downloads nothing.
        overrides = pl_module.get_load_overrides() if isinstance(pl_module, Task) else {}
        for key in HYPERPARAMETERS:
            if isinstance(checkpoint.get(key), dict):
                checkpoint[key] = redact(checkpoint[key])
        added = {"config": self.config, "model_kwargs": {**self.model_kwargs, **overrides}}
        checkpoint.setdefault(ENGINE_KEY, {}).update(added)
