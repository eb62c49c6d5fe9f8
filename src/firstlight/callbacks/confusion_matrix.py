"""Plot the confusion matrix of the test split to confusion_matrix.png, and write its counts to JSON."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from firstlight.logger.media import log_image, log_table
from firstlight.model.classifier import Classifier
from firstlight.model.per_class_metrics import ClassMetrics, compute_class_metrics
from firstlight.run.files import write_atomically, write_figure
from firstlight.run.optional import continue_on_failure
from firstlight.run.text import format_plot_text, format_printable


class ConfusionMatrixPlot(Callback):
    """Write confusion_matrix.png and confusion_matrix.json after a test.

    The loggers also receive the plot, and a table of per-class metrics as "test/classes".

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    @continue_on_failure("confusion_matrix.png")
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files on rank 0; other modules, and those with thousands of classes, have no confusion matrix."""
        if (
            not trainer.is_global_zero
            or not isinstance(pl_module, Classifier)
            or not pl_module.confusion_matrix.numel()
        ):
            return
        path = self.output_dir / "confusion_matrix.png"
        matrix: Tensor = pl_module.confusion_matrix.cpu()
        class_names = pl_module.class_names
        plot_confusion_matrix(matrix, class_names, path)
        content: dict[str, Any] = {"class_names": class_names, "counts": matrix.tolist()}
        write_atomically(self.output_dir / "confusion_matrix.json", json.dumps(content) + "\n")
        log_image(trainer, "test/confusion_matrix", [path])
        names = [format_printable(name) for name in class_names]
        rows = [list(metrics) for metrics in compute_class_metrics(content["counts"], names)]
        log_table(trainer, "test/classes", ["class", *ClassMetrics._fields[1:]], rows)


def plot_confusion_matrix(matrix: Tensor, class_names: list[str], path: Path) -> None:
    """Plot a confusion matrix to a PNG file.

    Args:
        matrix: Counts of shape (classes, classes); rows are true classes, columns predicted classes.
        class_names: One name per class.
        path: File to write.
    """
    count = len(class_names)
    side = min(max(3.5, 0.45 * count + 1.8), 14.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix.numpy(), cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true")
    # With more than 40 classes, names and counts would overlap; the colors still show the counts.
    if count <= 40:
        names = [format_plot_text(name) for name in class_names]
        axes.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(count), names)
        middle = float(matrix.max()) / 2
        for row in range(count):
            for column in range(count):
                value = int(matrix[row, column])
                if value:
                    color = "white" if value > middle else "black"
                    axes.text(column, row, str(value), ha="center", va="center", color=color, fontsize=8)
    write_figure(path, figure)
