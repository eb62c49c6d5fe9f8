"""Save the config in each checkpoint, so that the model can be rebuilt without the run directory."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.run.redaction import redact


class SaveConfigInCheckpoint(Callback):
    """Add the resolved config to each checkpoint, and model arguments that replace downloads.

    Args:
        config: The resolved config as plain values; secrets are masked.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = redact(config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add "config" and "model_kwargs"."""
        checkpoint["config"] = self.config
        checkpoint["model_kwargs"] = pl_module.get_load_overrides()  # type: ignore[operator]
