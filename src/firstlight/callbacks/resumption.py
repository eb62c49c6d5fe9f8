"""Put into each checkpoint what Lightning leaves out and an exact resume needs."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.checkpoint_io import FORMAT
from firstlight.logger.metrics_csv import MetricsCSV
from firstlight.random_state import restore, snapshot


class Resumption(Callback):
    """Save and put back the random states, and how much of metrics.csv counts.

    The order of the data and its augmentation are functions of seed and epoch (`data/order.py`, `data/chance.py`):
    they need no saving.
    """

    def __init__(self) -> None:
        """Resume nothing yet."""
        self.saved: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the format, the random states and the figures, once metrics.csv is on the disk."""
        checkpoint["format"] = FORMAT
        checkpoint["random_states"] = snapshot()
        checkpoint["metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.save()
                checkpoint["metrics_rows"] = logger.rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what a training starts with; its figures so far are there even if nothing is left to train."""
        trainer.callback_metrics.update(checkpoint.get("metrics", {}))
        self.saved = {name: checkpoint[name] for name in ("random_states", "metrics_rows") if name in checkpoint}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put everything back, at the last moment before the first step."""
        if not self.saved:
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.keep(self.saved["metrics_rows"])
        restore(self.saved["random_states"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set right by which step Lightning names the figures of validations: it counts a restart as one."""
        if self.saved:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self.saved = {}
