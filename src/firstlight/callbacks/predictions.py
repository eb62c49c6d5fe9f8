"""Write the most informative test predictions to predictions.json."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from firstlight.callbacks.top_samples import EXCLUDED, TopSamples
from firstlight.data.images import ImageDataModule
from firstlight.data.normalization import denormalize_to_uint8
from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.media import log_image, log_table
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

    The most confident errors come first, then the least confident correct predictions. The loggers also receive the
    samples, as the table "test/predictions".

    During the test, the samples are selected and kept on the device: reading the logits would wait for it in every
    batch.

    Args:
        output_dir: The run directory.
        num_samples: Maximum number of samples.
    """

    def __init__(self, output_dir: str, num_samples: int = 32) -> None:
        self.output_dir = Path(output_dir)
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the samples of the previous test; only a `Classifier` has classes to compare."""
        self.samples = TopSamples(
            self.num_samples, lambda columns: compute_error_scores(columns["logits"], columns["labels"])
        )
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
        # On MPS, the task returns its outputs on the CPU.
        columns = {"logits": outputs.float(), "labels": batch["labels"].to(outputs.device), "ids": batch["ids"]}
        inputs = batch["inputs"]
        if isinstance(inputs, dict):
            self.samples.update(columns | {"tokens": inputs["input_ids"]})
        else:
            # Images in the memory format channels_last are contiguous in this order.
            self.samples.update(columns, inputs.movedim(1, -1))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the samples of all ranks, write the files, and log the table."""
        if not self.is_active:
            return
        gathered = [rows for rank_rows in all_gather_objects(list(self._read_rows(pl_module))) for rows in rank_rows]
        if not trainer.is_global_zero:
            return
        self._write_files(trainer, gathered)

    @continue_on_failure("predictions.json")
    def _write_files(self, trainer: Trainer, gathered: list[Candidate]) -> None:
        rows = [row for _, row in sorted(gathered, key=lambda candidate: -candidate[0])[: self.num_samples]]
        for index, row in enumerate(rows):
            if "image" in row:
                (self.output_dir / "predictions").mkdir(parents=True, exist_ok=True)
                pixels, row["image"] = row["image"], f"predictions/{index}.png"
                image = Image.fromarray(pixels.contiguous().numpy())
                write_atomically(self.output_dir / row["image"], partial(image.save, format="PNG"))
        write_atomically(self.output_dir / "predictions.json", json.dumps(rows, indent=1) + "\n")
        self._log_samples(trainer, rows)

    def _log_samples(self, trainer: Trainer, rows: list[dict[str, Any]]) -> None:
        """Log the table; only W&B's tables contain images, so the other loggers receive them separately."""
        for logger in get_wandb_loggers(trainer):
            logger.log_table(
                "test/predictions", columns=list(COLUMNS), data=[self._make_table_row(row) for row in rows]
            )
        table = [[row.get(name, row.get("image", row.get("text"))) for name in COLUMNS] for row in rows]
        log_table(trainer, "test/predictions", COLUMNS, table, includes_wandb=False)
        if paths := [self.output_dir / row["image"] for row in rows if "image" in row]:
            log_image(trainer, "test/predictions", paths, includes_wandb=False)

    def _read_rows(self, pl_module: LightningModule) -> Iterator[Candidate]:
        """Yield the kept samples of this rank, from the highest error score."""
        assert isinstance(pl_module, Classifier)
        columns, names = self.samples.fetch(), pl_module.class_names
        if not columns:
            return
        if "images" in columns:
            images = denormalize_to_uint8(columns["images"].movedim(-1, 1), *self.normalization)
            columns["images"] = images.movedim(1, -1).cpu()
        # Computed again on the CPU, so that the probabilities do not depend on the softmax of the device.
        scores = compute_error_scores(columns["logits"], columns["labels"])
        probabilities, predicted = columns["logits"].softmax(1).max(1)
        for row, label in enumerate(columns["labels"].tolist()):
            details = {
                "id": int(columns["ids"][row]),
                "true": names[label],
                "predicted": names[predicted[row]],
                "probability": float(probabilities[row]),
            }
            if "images" in columns:
                yield float(scores[row]), details | {"image": columns["images"][row]}
            else:
                tokens = columns["tokens"][row]
                text = pl_module.tokenizer.decode(tokens[tokens >= 0], skip_special_tokens=True)
                yield float(scores[row]), details | {"text": text}

    def _make_table_row(self, row: dict[str, Any]) -> list[Any]:
        import wandb

        cell = wandb.Image(str(self.output_dir / row["image"])) if "image" in row else row["text"]
        return [
            *(format_printable(row[name]) if isinstance(row[name], str) else row[name] for name in COLUMNS[:-1]),
            cell,
        ]


def compute_error_scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the error score of each sample, from -1 (confident and correct) to 1 (confident and wrong), (batch,).

    The score is `EXCLUDED` for a negative label, which marks the padding samples of a distributed test, and for logits
    that are NaN.

    Args:
        logits: Shape (batch, classes).
        labels: Shape (batch,).
    """
    probabilities, predicted = logits.float().softmax(1).max(1)
    scores = torch.where(predicted == labels, -probabilities, probabilities)
    return scores.masked_fill((labels < 0) | scores.isnan(), EXCLUDED)
