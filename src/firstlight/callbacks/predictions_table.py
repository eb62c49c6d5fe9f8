"""Show sample predictions of the test as a W&B table."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger


class PredictionsTable(Callback):
    """Log the first test samples with true and predicted class, pictures as pictures and texts as texts."""

    def __init__(self, num_samples: int = 32) -> None:
        """Show so many samples."""
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last test."""
        self.rows: list[list[Any]] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the samples of the first batches."""
        wanted = self.num_samples - len(self.rows)
        if wanted <= 0 or not any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            return
        inputs = batch["inputs"]
        few = {name: each[:wanted] for name, each in inputs.items()} if isinstance(inputs, dict) else inputs[:wanted]
        with torch.no_grad():
            probabilities, predicted = pl_module(few).float().softmax(1).max(1)
        names: list[str] = pl_module.class_names  # type: ignore[assignment]
        for row in range(len(predicted)):
            label, guess = int(batch["labels"][row]), int(predicted[row])
            shown = self._shown(few, row, pl_module)
            self.rows.append([int(batch["ids"][row]), shown, names[label], names[guess], float(probabilities[row])])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the table."""
        columns = ["id", "input", "true", "predicted", "probability"]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and self.rows:
                logger.log_table("test/predictions", columns=columns, data=self.rows)

    def _shown(self, inputs: Any, row: int, pl_module: LightningModule) -> Any:
        if isinstance(inputs, dict):
            return pl_module.tokenizer.decode(inputs["input_ids"][row], skip_special_tokens=True)  # type: ignore
        import wandb

        image = inputs[row].float().cpu()
        low, high = image.min(), image.max()
        return wandb.Image((image - low) / (high - low).clamp(min=1e-6))
