"""Plot the learning curves of a run to learning_curves.png."""

import csv
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from firstlight.run.files import write_figure


class LearningCurves(Callback):
    """Plot loss and accuracy over optimizer steps from metrics.csv after the fit.

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush metrics.csv and write learning_curves.png on rank 0."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            plot_learning_curves(self.output_dir / "metrics.csv", self.output_dir / "learning_curves.png")


def plot_learning_curves(metrics_path: Path, path: Path) -> None:
    """Plot the training and validation curves of a metrics.csv; if there are none, write no file.

    Args:
        metrics_path: The metrics.csv, which may be missing.
        path: PNG file to write.
    """
    curves = read_metrics_csv(metrics_path) if metrics_path.is_file() else {}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    is_empty = True
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, style in {"train": "-", "val": "o-"}.items():
            if curve := curves.get(f"{split}/{name}"):
                axes.plot(*zip(*curve, strict=True), style, label=split, markersize=4)
                is_empty = False
        axes.set(xlabel="optimizer step", ylabel=name)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    if not is_empty:
        write_figure(path, figure)


def read_metrics_csv(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the (step, value) pairs of each metric in a metrics.csv."""
    curves: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value:
                    curves.setdefault(name, []).append((int(row["step"]), float(value)))
    return curves
