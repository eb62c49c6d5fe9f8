"""Write the most informative test predictions to predictions.json."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from firstlight.data.images import ImageDataModule
from firstlight.data.normalization import denormalize_to_uint8
from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.model.classifier import Classifier
from firstlight.run.files import write_atomically
from firstlight.run.optional import continue_on_failure
from firstlight.run.text import format_printable

# The error score of a sample, from -1 (confident and correct) to 1 (confident and wrong), and its row.
Candidate = tuple[float, dict[str, Any]]
COLUMNS = ("id", "true", "predicted", "probability", "input")


class PredictionSamples(Callback):
    """Write test samples with true and predicted class to predictions.json, and their images to predictions/.

    The most confident errors come first, then the least confident correct predictions. W&B also receives the samples,
    as the table "test/predictions".

    Args:
        output_dir: The run directory.
        num_samples: Maximum number of samples.
    """

    def __init__(self, output_dir: str, num_samples: int = 32) -> None:
        self.output_dir = Path(output_dir)
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the samples of the previous test; only a `Classifier` has classes to compare."""
        self.candidates: list[Candidate] = []
        self.is_active = isinstance(pl_module, Classifier)
        data = trainer.datamodule  # type: ignore[attr-defined]
        # Mean and standard deviation with which the images were normalized.
        self.normalization = (data.mean, data.std) if isinstance(data, ImageDataModule) else ()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the `num_samples` samples with the highest error scores so far; `outputs` are the logits."""
        if not self.is_active:
            return
        self.candidates += self._select_candidates(outputs, batch, pl_module)
        self.candidates = self._select_top(self.candidates)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the samples of all ranks, write the files, and log the table."""
        if not self.is_active:
            return
        gathered = [candidate for candidates in all_gather_objects(self.candidates) for candidate in candidates]
        if not trainer.is_global_zero:
            return
        self._write_files(trainer, gathered)

    @continue_on_failure("predictions.json")
    def _write_files(self, trainer: Trainer, gathered: list[Candidate]) -> None:
        rows = [row for _, row in self._select_top(gathered)]
        for index, row in enumerate(rows):
            if "image" in row:
                (self.output_dir / "predictions").mkdir(parents=True, exist_ok=True)
                pixels, row["image"] = row["image"], f"predictions/{index}.png"
                image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
                write_atomically(self.output_dir / row["image"], partial(image.save, format="PNG"))
        write_atomically(self.output_dir / "predictions.json", json.dumps(rows, indent=1) + "\n")
        for logger in get_wandb_loggers(trainer):
            logger.log_table(
                "test/predictions", columns=list(COLUMNS), data=[self._make_table_row(row) for row in rows]
            )

    def _select_top(self, candidates: list[Candidate]) -> list[Candidate]:
        return sorted(candidates, key=lambda candidate: -candidate[0])[: self.num_samples]

    def _select_candidates(self, logits: Any, batch: Any, pl_module: LightningModule) -> Iterator[Candidate]:
        probabilities, predicted = logits.float().cpu().softmax(1).max(1)
        labels = batch["labels"].cpu()
        error_scores = torch.where(predicted == labels, -probabilities, probabilities)
        threshold = self.candidates[-1][0] if len(self.candidates) == self.num_samples else -2.0
        assert isinstance(pl_module, Classifier)
        names = pl_module.class_names
        for row in error_scores.argsort(descending=True)[: self.num_samples].tolist():
            # Negative labels mark the padding samples of a distributed test.
            if error_scores[row] > threshold and labels[row] >= 0:
                yield (
                    float(error_scores[row]),
                    {
                        "id": int(batch["ids"][row]),
                        "true": names[labels[row]],
                        "predicted": names[predicted[row]],
                        "probability": float(probabilities[row]),
                        **self._decode_input(batch["inputs"], row, pl_module),
                    },
                )

    def _decode_input(self, inputs: Any, row: int, pl_module: LightningModule) -> dict[str, Any]:
        if isinstance(inputs, dict):
            return {"text": pl_module.tokenizer.decode(inputs["input_ids"][row], skip_special_tokens=True)}  # type: ignore
        return {"image": denormalize_to_uint8(inputs[row : row + 1], *self.normalization)[0]}

    def _make_table_row(self, row: dict[str, Any]) -> list[Any]:
        import wandb

        cell = wandb.Image(str(self.output_dir / row["image"])) if "image" in row else row["text"]
        return [
            *(format_printable(row[name]) if isinstance(row[name], str) else row[name] for name in COLUMNS[:-1]),
            cell,
        ]
