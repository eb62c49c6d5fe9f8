"""Load the learning curves of a run from metrics.csv, downsampled for the page."""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from firstlight.run.containment import open_inside

# Step -> value; None for a value that is not finite.
Curve = dict[int, float | None]
# A longer curve keeps every second point, so that a large file fits into memory.
MAX_STORED_POINTS = 20_000


class CurveTable:
    """The curves of a metrics.csv. Rows are added as they are read, so that a growing file is read once.

    Attributes:
        curves: The curve of each metric. Test metrics are single values, so they have no curve.
        last_steps: The last step of each epoch.
        latest: The last value of each metric.
    """

    def __init__(self) -> None:
        self.curves: dict[str, Curve] = {}
        self.last_steps: dict[int, int] = {}
        self.latest: dict[str, float] = {}
        self.columns: list[str] | None = None
        self.num_rows = 0

    def add_rows(self, lines: Iterable[str]) -> None:
        """Add lines; the first line of the file has the names of the columns.

        A resumed run logs some steps again; the later row replaces the earlier one.

        Raises:
            csv.Error: If the lines are not CSV.
        """
        reader = csv.DictReader(lines, self.columns)
        self.columns = list(reader.fieldnames or ()) or None
        has_no_steps = "step" not in (self.columns or ())
        for row in reader:
            # DictReader sets missing cells of a truncated row to None, and stores surplus cells under the key None.
            cells = {name: parse_float(cell) for name, cell in row.items() if name and isinstance(cell, str) and cell}
            step = to_int(float(self.num_rows) if has_no_steps else cells.pop("step", None))
            self.num_rows += 1
            self._add_row(step, cells.pop("epoch", None), cells)

    def _add_row(self, step: int | None, epoch: float | None, cells: dict[str, float | None]) -> None:
        metrics = {name: value for name, value in cells.items() if value is not None and not name.startswith("test/")}
        if step is None or not metrics:
            return
        self.latest |= metrics
        for name, value in metrics.items():
            curve = self.curves.setdefault(name, {})
            curve[step] = value if math.isfinite(value) else None
            if len(curve) > MAX_STORED_POINTS:
                self.curves[name] = dict(list(curve.items())[::2])
        epoch_index = to_int(epoch)
        if epoch_index is not None:
            self.last_steps[epoch_index] = max(step, self.last_steps.get(epoch_index, 0))

    def get_last_step(self) -> int | None:
        """Return the last step with a metric."""
        return max((max(curve) for curve in self.curves.values()), default=None)

    def downsample(self, max_points: int) -> dict[str, Any]:
        """Return the curves as `load_curves` does."""
        groups: dict[tuple[int, ...], dict[str, list[float | None]]] = {}
        for name, curve in self.curves.items():
            steps = select_steps(sorted(curve), max_points)
            groups.setdefault(tuple(steps), {})[name] = [round_significant(curve[step]) for step in steps]
        return {
            "curves": [{"steps": list(steps), "metrics": metrics} for steps, metrics in groups.items()],
            "epochs": [[step, epoch + 1] for epoch, step in sorted(self.last_steps.items())],
            "remarks": [] if self.curves else ["No learning curves: metrics.csv is empty."],
        }


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
        return read_curves(run_dir).downsample(max_points)
    except (OSError, csv.Error) as error:
        return describe_missing_curves(error)


def read_curves(run_dir: Path) -> CurveTable:
    """Return the curves of a run.

    Raises:
        OSError: If metrics.csv cannot be read.
        csv.Error: If it is not CSV.
    """
    table = CurveTable()
    with open_inside(run_dir / "metrics.csv") as binary:
        table.add_rows(io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline=""))
    return table


def describe_missing_curves(error: Exception) -> dict[str, Any]:
    """Return what `load_curves` returns for a metrics.csv that does not exist or cannot be read."""
    problem = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
    return {"curves": [], "epochs": [], "remarks": [f"No learning curves: metrics.csv {problem}."]}


def parse_float(cell: str) -> float | None:
    """Return the number in a cell, or None if it is not a number."""
    try:
        return float(cell)
    except ValueError:
        return None


def to_int(value: float | None) -> int | None:
    """Return a value as an integer, or None if it is missing or not finite."""
    return int(value) if value is not None and math.isfinite(value) else None


def select_steps(steps: list[int], max_points: int) -> list[int]:
    """Return up to `max_points` evenly spaced steps, including the first and the last."""
    if len(steps) <= max_points:
        return steps
    return [steps[round(index * (len(steps) - 1) / (max_points - 1))] for index in range(max_points)]


def round_significant(value: float | None) -> float | None:
    """Round a value to five significant digits: more are not visible and would double the size of the page."""
    return None if value is None else float(f"{value:.5g}")
