"""Read the learning curves of a run from metrics.csv, few enough points for a page."""

import csv
import math
from pathlib import Path
from typing import Any

Curve = dict[int, float | None]


def load_curves(folder: Path, points: int) -> dict[str, Any]:
    """Return the curves of a run, those with the same steps together, or a remark why there are none.

    Args:
        folder: of the run.
        points: most points that a curve keeps.

    Returns:
        "curves": [{"steps": [...], "metrics": {name: [value or None]}}], "epochs": [[last step of an epoch, epochs
        done]], "remarks": [sentence].
    """
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8", errors="replace") as file:
            found, epochs = parse_metrics_csv(file)
    except FileNotFoundError:
        return {"curves": [], "epochs": [], "remarks": ["No learning curves: there is no metrics.csv."]}
    except (OSError, csv.Error) as error:
        return {"curves": [], "epochs": [], "remarks": [f"No learning curves: metrics.csv cannot be read ({error})."]}
    groups: dict[tuple[int, ...], dict[str, list[float | None]]] = {}
    for name, curve in found.items():
        steps = downsample(sorted(curve), points)
        groups.setdefault(tuple(steps), {})[name] = [round_significant(curve[step]) for step in steps]
    return {
        "curves": [{"steps": list(steps), "metrics": figures} for steps, figures in groups.items()],
        "epochs": [[step, epoch + 1] for epoch, step in sorted(epochs.items())],
        "remarks": [] if found else ["No learning curves: nothing is in metrics.csv yet."],
    }


def parse_metrics_csv(file: Any) -> tuple[dict[str, Curve], dict[int, int]]:
    """Return each figure by step, and the last step of each epoch.

    A resumed run writes some steps again: the later row counts. Figures of the test are single numbers, no curves.
    """
    found: dict[str, Curve] = {}
    epochs: dict[int, int] = {}
    reader = csv.DictReader(file)
    counted = "step" not in (reader.fieldnames or ())
    for index, row in enumerate(reader):
        # A row that was cut off has None for what is missing, and under None what was too much.
        cells = {name: parse_float(value) for name, value in row.items() if name and isinstance(value, str) and value}
        step, epoch = to_int(float(index) if counted else cells.pop("step", None)), cells.pop("epoch", None)
        figures = {name: value for name, value in cells.items() if value is not None and not name.startswith("test/")}
        if step is None or not figures:
            continue
        for name, value in figures.items():
            found.setdefault(name, {})[step] = value if math.isfinite(value) else None
        number = to_int(epoch)
        if number is not None:
            epochs[number] = max(step, epochs.get(number, 0))
    return found, epochs


def parse_float(cell: str) -> float | None:
    """Return the number in a cell; None for other text."""
    try:
        return float(cell)
    except ValueError:
        return None


def to_int(value: float | None) -> int | None:
    """Return a whole number; None for what is not finite."""
    return int(value) if value is not None and math.isfinite(value) else None


def downsample(steps: list[int], points: int) -> list[int]:
    """Return so many evenly spaced steps at most, first and last among them."""
    if len(steps) <= points:
        return steps
    return [steps[round(index * (len(steps) - 1) / (points - 1))] for index in range(points)]


def round_significant(value: float | None) -> float | None:
    """Return a value with five digits: more cannot be seen, and would double the page."""
    return None if value is None else float(f"{value:.5g}")
