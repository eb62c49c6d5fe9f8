"""Names of metrics: the direction in which they improve, and which of them are compared."""

from collections.abc import Iterable
from typing import Any, Literal

# These come first, whichever other metrics exist.
FIRST_METRICS = ("test/accuracy", "test/f1", "test/loss", "val/accuracy")
MAX_METRICS = 10
# Parts of metric names by their direction; names are split at all characters except letters and digits.
MINIMIZED_PARTS = {"memory", "ms", "seconds", "wait"}
MINIMIZED_PARTS |= {"loss", "error", "err", "mae", "mse", "rmse", "mape", "nll", "perplexity", "ppl", "wer"}
MAXIMIZED_PARTS = {"accuracy", "acc", "f1", "auc", "auroc", "ap", "map", "precision", "recall", "iou", "miou", "dice"}
MAXIMIZED_PARTS |= {"r2", "psnr", "ssim", "bleu", "rouge", "reward", "score", "samples"}

Mode = Literal["min", "max"]


def select_comparison_metrics(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Return the validation and test metrics of all runs, without duplicates.

    Args:
        runs: Mappings with the entry "metrics", values by name, as in run.json.
    """
    logged = [metrics for run in runs if isinstance(metrics := run.get("metrics"), dict)]
    names = {name for metrics in logged for name in metrics if not name.startswith(("train", "speed/"))}
    first = [name for name in FIRST_METRICS if name in names]
    # Metrics of the test come before those of the validation, whatever follows the split in their names.
    others = sorted(
        names - set(first), key=lambda name: (not name.startswith("test"), not name.startswith("val"), name)
    )
    return [*first, *others][:MAX_METRICS]


def find_direction(metric: str) -> Mode | None:
    """Return the direction in which a metric improves, by the last known part of its name; None if no part is known."""
    parts = "".join(char.lower() if char.isalnum() else " " for char in metric).split()
    for part in reversed(parts):
        if part in MINIMIZED_PARTS or part.endswith(("loss", "rmse", "mae", "mse")):
            return "min"
        if part in MAXIMIZED_PARTS or part.endswith(("auroc", "acc")):
            return "max"
    return None
