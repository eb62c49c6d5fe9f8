"""Draw the learning curves of a run as learning_curves.png."""

import csv
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from firstlight.run.files import write_figure


class LearningCurves(Callback):
    """Draw loss and accuracy over the steps from metrics.csv when the fit is over."""

    def __init__(self, output_dir: str) -> None:
        """Read from and write to the run folder `output_dir`."""
        self.output_dir = Path(output_dir)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write learning_curves.png."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            plot_learning_curves(self.output_dir / "metrics.csv", self.output_dir / "learning_curves.png")


def plot_learning_curves(metrics: Path, picture: Path) -> None:
    """Draw train and val curves of a metrics.csv; without the file, or without curves in it, draw nothing."""
    points = read_metrics_csv(metrics) if metrics.is_file() else {}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    drawn = False
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, style in {"train": "-", "val": "o-"}.items():
            if curve := points.get(f"{split}/{name}"):
                axes.plot(*zip(*curve, strict=True), style, label=split, markersize=4)
                drawn = True
        axes.set(xlabel="optimizer step", ylabel=name)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    if drawn:
        write_figure(picture, figure)


def read_metrics_csv(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the (step, value) pairs of each column."""
    points: dict[str, list[tuple[int, float]]] = {}
    with metrics.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value:
                    points.setdefault(name, []).append((int(row["step"]), float(value)))
    return points
