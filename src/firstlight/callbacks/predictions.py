"""Keep the predictions that are worth a look."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from firstlight.data.images import denormalize
from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.files import write_atomically

# How telling a sample is, from -1 (surely right) to 1 (surely wrong), and what is kept of it.
Candidate = tuple[float, dict[str, Any]]
COLUMNS = ("id", "true", "predicted", "probability", "input")


class PredictionSamples(Callback):
    """Write test samples with true and predicted class to predictions.json, pictures beside it in predictions/.

    The most confident mistakes come first, then what was right by the least margin. W&B gets a table of them,
    "test/predictions".
    """

    def __init__(self, output_dir: str, num_samples: int = 32) -> None:
        """Keep so many samples in the run folder `output_dir`."""
        self.output_dir = Path(output_dir)
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last test."""
        self.found: list[Candidate] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the samples of the batch that are among the most telling so far; `outputs` are its logits."""
        self.found += self._select_candidates(outputs, batch, pl_module)
        self.found = sorted(self.found, key=lambda each: -each[0])[: self.num_samples]

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files, and log the table."""
        found = [candidate for each in all_gather_objects(self.found) for candidate in each]
        if not trainer.is_global_zero:
            return
        rows = [row for _, row in sorted(found, key=lambda each: -each[0])[: self.num_samples]]
        for index, row in enumerate(rows):
            if "image" in row:
                (self.output_dir / "predictions").mkdir(parents=True, exist_ok=True)
                picture, row["image"] = row["image"], f"predictions/{index}.png"
                image = Image.fromarray(picture.permute(1, 2, 0).numpy())
                write_atomically(self.output_dir / row["image"], partial(image.save, format="PNG"))
        write_atomically(self.output_dir / "predictions.json", json.dumps(rows, indent=1) + "\n")
        for logger in get_wandb_loggers(trainer):
            logger.log_table(
                "test/predictions", columns=list(COLUMNS), data=[self._make_table_row(row) for row in rows]
            )

    def _select_candidates(self, logits: Any, batch: Any, pl_module: LightningModule) -> Iterator[Candidate]:
        probabilities, predicted = logits.float().cpu().softmax(1).max(1)
        labels = batch["labels"].cpu()
        telling = torch.where(predicted == labels, -probabilities, probabilities)
        least = self.found[-1][0] if len(self.found) == self.num_samples else -2.0
        names: list[str] = pl_module.class_names  # type: ignore[assignment]
        for row in telling.argsort(descending=True)[: self.num_samples].tolist():
            if telling[row] > least and labels[row] >= 0:  # one that is read twice counts once
                yield (
                    float(telling[row]),
                    {
                        "id": int(batch["ids"][row]),
                        "true": names[labels[row]],
                        "predicted": names[predicted[row]],
                        "probability": float(probabilities[row]),
                        **self._get_input(batch["inputs"], row, pl_module),
                    },
                )

    def _get_input(self, inputs: Any, row: int, pl_module: LightningModule) -> dict[str, Any]:
        if isinstance(inputs, dict):
            return {"text": pl_module.tokenizer.decode(inputs["input_ids"][row], skip_special_tokens=True)}  # type: ignore
        return {"image": denormalize(inputs[row : row + 1])[0]}

    def _make_table_row(self, row: dict[str, Any]) -> list[Any]:
        import wandb

        shown = wandb.Image(str(self.output_dir / row["image"])) if "image" in row else row["text"]
        return [*(row[name] for name in COLUMNS[:-1]), shown]
