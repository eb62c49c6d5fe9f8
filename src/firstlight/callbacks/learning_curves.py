"""Plot the learning curves of a run to learning_curves.png."""

import re
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from firstlight.logger.metrics_csv import read_complete_rows
from firstlight.run.files import write_figure
from firstlight.run.optional import continue_on_failure
from firstlight.run.text import format_plot_text

# Steps and values.
Curve = list[tuple[int, float]]
# Plots next to each other.
MAX_PLOTS = 3


class LearningCurves(Callback):
    """Plot the metrics over the steps from metrics.csv after the fit.

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    @continue_on_failure("learning_curves.png")
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush metrics.csv and write learning_curves.png on rank 0."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            plot_learning_curves(self.output_dir / "metrics.csv", self.output_dir / "learning_curves.png")


def plot_learning_curves(metrics_path: Path, path: Path) -> None:
    """Plot the curves of a metrics.csv, one plot per quantity; if there are none, write no file.

    Args:
        metrics_path: The metrics.csv, which may be missing.
        path: PNG file to write.
    """
    groups = group_curves(read_metrics_csv(metrics_path) if metrics_path.is_file() else {})
    if not groups:
        return
    figure = Figure(figsize=(4.5 * max(len(groups), 2), 3.6), layout="constrained")
    for axes, (name, curves) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        for label, curve in curves.items():
            is_training = label.startswith("train") or label == name
            axes.plot(
                *zip(*curve, strict=True), "-" if is_training else "o-", label=format_plot_text(label), markersize=4
            )
        axes.set(xlabel="step", ylabel=format_plot_text(name))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    write_figure(path, figure)


def group_curves(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Return the curves by quantity and split: "train/loss" and "val_loss" are the curves of "loss".

    At most `MAX_PLOTS` quantities are returned: those with several splits first, then losses.
    """
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        if name.startswith("speed/") or name in ("epoch", "train/lr", "train/lr_first_layer"):
            continue
        base, _, loader = name.removesuffix("_step").removesuffix("_epoch").partition("/dataloader_idx_")
        match = re.fullmatch(r"(train(?:ing)?|val(?:id(?:ation)?)?|test)[/_.-]?(.+)", base)
        split, quantity = match.groups() if match else (base, base)
        if split != "test":
            groups.setdefault(quantity, {})[f"{split} {loader}".strip()] = curve
    ranked = sorted(groups, key=lambda quantity: (-len(groups[quantity]), "loss" not in quantity.lower()))
    return {quantity: groups[quantity] for quantity in ranked[:MAX_PLOTS]}


def read_metrics_csv(path: Path) -> dict[str, Curve]:
    """Return the (step, value) pairs of each metric in a metrics.csv; truncated rows are left out."""
    curves: dict[str, Curve] = {}
    for row in read_complete_rows(path)[0]:
        for name, value in row.items():
            if name != "step" and value:
                curves.setdefault(name, []).append((int(row["step"]), float(value)))
    return curves
