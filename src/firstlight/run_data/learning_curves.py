"""Load the learning curves of a run from metrics.csv, downsampled for the page."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from firstlight.run.containment import open_inside

# Step -> value; None for a value that is not finite.
Curve = dict[int, float | None]


def load_curves(run_dir: Path, max_points: int) -> dict[str, Any]:
    """Return the curves of a run, grouped by their steps, or a remark if there are none.

    Args:
        run_dir: The run directory.
        max_points: Maximum number of points per curve.

    Returns:
        "curves": [{"steps": [...], "metrics": {name: [value or None]}}], "epochs": [[last step of an epoch, completed
        epochs]], "remarks": [sentence].
    """
    try:
        with open_inside(run_dir / "metrics.csv") as binary:
            file = io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline="")
            curves, last_steps = parse_metrics_csv(file)
    except FileNotFoundError:
        return {"curves": [], "epochs": [], "remarks": ["No learning curves: metrics.csv does not exist."]}
    except (OSError, csv.Error) as error:
        return {"curves": [], "epochs": [], "remarks": [f"No learning curves: metrics.csv cannot be read ({error})."]}
    groups: dict[tuple[int, ...], dict[str, list[float | None]]] = {}
    for name, curve in curves.items():
        steps = downsample(sorted(curve), max_points)
        groups.setdefault(tuple(steps), {})[name] = [round_significant(curve[step]) for step in steps]
    return {
        "curves": [{"steps": list(steps), "metrics": metrics} for steps, metrics in groups.items()],
        "epochs": [[step, epoch + 1] for epoch, step in sorted(last_steps.items())],
        "remarks": [] if curves else ["No learning curves: metrics.csv is empty."],
    }


def parse_metrics_csv(file: Any) -> tuple[dict[str, Curve], dict[int, int]]:
    """Return the curve of each metric, and the last step of each epoch.

    A resumed run logs some steps again; the later row replaces the earlier one. Test metrics are single values, so
    they have no curve.
    """
    curves: dict[str, Curve] = {}
    last_steps: dict[int, int] = {}
    reader = csv.DictReader(file)
    has_no_steps = "step" not in (reader.fieldnames or ())
    for index, row in enumerate(reader):
        # DictReader sets missing cells of a truncated row to None, and stores surplus cells under the key None.
        cells = {name: parse_float(cell) for name, cell in row.items() if name and isinstance(cell, str) and cell}
        step, epoch = to_int(float(index) if has_no_steps else cells.pop("step", None)), cells.pop("epoch", None)
        metrics = {name: value for name, value in cells.items() if value is not None and not name.startswith("test/")}
        if step is None or not metrics:
            continue
        for name, value in metrics.items():
            curves.setdefault(name, {})[step] = value if math.isfinite(value) else None
        epoch_index = to_int(epoch)
        if epoch_index is not None:
            last_steps[epoch_index] = max(step, last_steps.get(epoch_index, 0))
    return curves, last_steps


def parse_float(cell: str) -> float | None:
    """Return the number in a cell, or None if it is not a number."""
    try:
        return float(cell)
    except ValueError:
        return None


def to_int(value: float | None) -> int | None:
    """Return a value as an integer, or None if it is missing or not finite."""
    return int(value) if value is not None and math.isfinite(value) else None


def downsample(steps: list[int], max_points: int) -> list[int]:
    """Return up to `max_points` evenly spaced steps, including the first and the last."""
    if len(steps) <= max_points:
        return steps
    return [steps[round(index * (len(steps) - 1) / (max_points - 1))] for index in range(max_points)]


def round_significant(value: float | None) -> float | None:
    """Round a value to five significant digits: more are not visible and would double the size of the page."""
    return None if value is None else float(f"{value:.5g}")
