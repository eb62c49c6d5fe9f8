"""Plot predicted against true targets of the test split to predicted_vs_true.png, and write them to JSON."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.media import log_image
from firstlight.model.regressor import Regressor
from firstlight.run.files import write_atomically, write_figure
from firstlight.run.optional import continue_on_failure
from firstlight.run.text import format_plot_text

# Points of the plot and of the JSON file.
MAX_POINTS = 2_000


class PredictedVsTruePlot(Callback):
    """Write predicted_vs_true.png and predicted_vs_true.json after a test, with up to 2,000 samples.

    The loggers also receive the plot.

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the samples of the previous test; only a `Regressor` has targets."""
        # ID, target and prediction of each sample, on the device: a copy would wait for it in every batch.
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self.is_active = isinstance(pl_module, Regressor)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep targets and predictions; `outputs` are the outputs of the network."""
        if self.is_active:
            assert isinstance(pl_module, Regressor)
            self.batches.append((batch["ids"], batch["labels"], pl_module.to_target_unit(outputs)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the samples of all ranks, and write both files on rank 0."""
        if not self.is_active or not self.batches:
            return
        columns = [torch.cat([column.cpu().double() for column in part]) for part in zip(*self.batches, strict=True)]
        ids, true, predicted = (torch.cat(parts) for parts in zip(*all_gather_objects(columns), strict=True))
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Regressor)
        self._write_files(trainer, pl_module, ids, true, predicted)

    @continue_on_failure("predicted_vs_true.png")
    def _write_files(self, trainer: Trainer, model: Regressor, ids: Tensor, true: Tensor, predicted: Tensor) -> None:
        chosen = choose_points(ids)
        content = {
            "target_name": model.target_name,
            "num_samples": int((ids >= 0).sum()),
            "true": true[chosen].tolist(),
            "predicted": predicted[chosen].tolist(),
        }
        path = self.output_dir / "predicted_vs_true.png"
        plot_predicted_vs_true(content, path)
        write_atomically(self.output_dir / "predicted_vs_true.json", json.dumps(content) + "\n")
        log_image(trainer, "test/predicted_vs_true", [path])


def choose_points(ids: Tensor, max_points: int = MAX_POINTS) -> Tensor:
    """Return the positions of up to `max_points` samples in the order of their IDs, evenly spaced.

    Args:
        ids: ID of each sample, shape (samples,). Padding has -1.
        max_points: Maximum number of positions.
    """
    positions = ids.argsort(stable=True)[int((ids < 0).sum()) :]
    if len(positions) <= max_points:
        return positions
    return positions[torch.linspace(0, len(positions) - 1, max_points).round().long()]


def plot_predicted_vs_true(content: dict[str, Any], path: Path) -> None:
    """Plot a point per sample and the diagonal to a PNG file.

    Args:
        content: "target_name", "true" and "predicted".
        path: File to write.
    """
    true, predicted = content["true"], content["predicted"]
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    low, high = min(*true, *predicted, true[0]), max(*true, *predicted, true[0])
    axes.plot([low, high], [low, high], color="gray", linewidth=1)
    axes.scatter(true, predicted, s=10, alpha=0.5, linewidths=0)
    name = format_plot_text(content["target_name"])
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}", aspect="equal")
    write_figure(path, figure)
