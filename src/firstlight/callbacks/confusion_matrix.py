"""Draw the confusion matrix of the test as confusion_matrix.png, and keep its counts in confusion_matrix.json."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.model.per_class_metrics import ClassMetrics, compute_class_metrics
from firstlight.run.files import write_atomically, write_figure


class ConfusionMatrixPlot(Callback):
    """Draw which class was taken for which; W&B gets the picture and a table of per-class scores, "test/classes"."""

    def __init__(self, output_dir: str) -> None:
        """Write to the run folder `output_dir`."""
        self.output_dir = Path(output_dir)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files."""
        if not trainer.is_global_zero:
            return
        picture = self.output_dir / "confusion_matrix.png"
        matrix: Tensor = pl_module.confusion_matrix.cpu()  # type: ignore
        names: list[str] = pl_module.class_names  # type: ignore
        plot_confusion_matrix(matrix, names, picture)
        kept: dict[str, Any] = {"class_names": names, "counts": matrix.tolist()}
        write_atomically(self.output_dir / "confusion_matrix.json", json.dumps(kept) + "\n")
        for logger in get_wandb_loggers(trainer):
            logger.log_image("test/confusion_matrix", [str(picture)])
            columns = ["class", *ClassMetrics._fields[1:]]
            rows = [list(scores) for scores in compute_class_metrics(kept["counts"], names)]
            logger.log_table("test/classes", columns=columns, data=rows)


def plot_confusion_matrix(matrix: Tensor, class_names: list[str], picture: Path) -> None:
    """Draw counts, rows the true classes, shape (classes, classes)."""
    count = len(class_names)
    side = min(max(3.5, 0.45 * count + 1.8), 14.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix.numpy(), cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true")
    # Beyond 40 classes names and counts would overlap: the colours still tell.
    if count <= 40:
        axes.set_xticks(range(count), class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
        axes.set_yticks(range(count), class_names)
        middle = float(matrix.max()) / 2
        for row in range(count):
            for column in range(count):
                value = int(matrix[row, column])
                if value:
                    colour = "white" if value > middle else "black"
                    axes.text(column, row, str(value), ha="center", va="center", color=colour, fontsize=8)
    write_figure(picture, figure)
