"""Make each checkpoint explain itself."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.run.redaction import redact


class SaveConfigInCheckpoint(Callback):
    """Put into each checkpoint what rebuilds its model: the resolved configuration, and what replaces downloads."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Keep the resolved configuration, plain values only, without secrets."""
        self.config = redact(config)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add "config" and "model_kwargs"."""
        checkpoint["config"] = self.config
        checkpoint["model_kwargs"] = pl_module.rebuild_kwargs()  # type: ignore[operator]
