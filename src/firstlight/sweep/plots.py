"""Plots of sweep results."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from firstlight.run.errors import shorten
from firstlight.run.files import write_figure
from firstlight.run.text import format_plot_text

# A plot with more bars or lines is not readable, and from 1,300 bars on too high for matplotlib.
MAX_BARS, MAX_LINES, MAX_LABEL_CHARACTERS = 100, 20, 60
PANELS = ("test/accuracy", "samples/s", "peak GiB")


def format_values(row: dict[str, Any], overrides: list[str]) -> str:
    """Return the values of the overrides of a job as a label; a long one loses its middle."""
    return format_plot_text(", ".join(str(row[name]) for name in overrides), MAX_LABEL_CHARACTERS) if overrides else ""


def plot_sweep_results(rows: list[dict[str, Any]], metric_columns: list[str], path: Path) -> None:
    """Plot accuracy, throughput and memory of each job as bars.

    Args:
        rows: One row per job: its overrides, then "status" and the metrics.
        metric_columns: Names of the columns that contain metrics.
        path: The image file to write.
    """
    overrides = list(rows[0])[: list(rows[0]).index("status")]
    measured = [name for name in metric_columns if any(isinstance(row[name], int | float) for row in rows)]
    # Without an accuracy, the first metric that the module logs.
    quality = PANELS[0] if PANELS[0] in measured else next((name for name in measured if "/s" not in name), PANELS[0])
    panels = [name for name in (quality, *PANELS[1:]) if name in metric_columns]
    title = shorten(", ".join(overrides), 2 * MAX_LABEL_CHARACTERS)
    if len(rows) > MAX_BARS:
        title += f" (first {MAX_BARS} of {len(rows):,} jobs)"
        rows = rows[:MAX_BARS]
    names = [format_values(row, overrides) or str(index) for index, row in enumerate(rows)]
    height = 1.6 + 0.32 * len(rows)
    figure = Figure(figsize=(3.2 * len(panels) + 1.8, height), layout="constrained")
    figure.suptitle(format_plot_text(title, 3 * MAX_LABEL_CHARACTERS), fontsize=10)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        values = [row[panel] if isinstance(row[panel], int | float) else 0 for row in rows]
        colors = ["tab:blue" if row["status"] == "finished" else "tab:red" for row in rows]
        # By position, because shortened names may be equal.
        axes.barh(range(len(rows)), values, color=colors, tick_label=names)
        for index, (row, value) in enumerate(zip(rows, values, strict=True)):
            axes.text(value, index, f" {value:.3g}" if value else f" {row['status']}", va="center", fontsize=8)
        axes.set_title(format_plot_text(panel), fontsize=10)
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    write_figure(path, figure)


def plot_batch_size_sweep(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot throughput and peak memory by batch size, with one line per combination of the other overrides.

    Args:
        rows: As in `plot_sweep_results`, with "data.batch_size" among the overrides.
        path: The image file to write.
    """
    overrides = list(rows[0])[: list(rows[0]).index("status")]
    others = [name for name in overrides if name != "data.batch_size"]
    lines: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] == "finished":
            lines.setdefault(tuple(str(row[name]) for name in others), []).append(row)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), ("samples/s", "peak GiB"), ("samples per second", "peak memory in GiB"), strict=True
    ):
        for line in list(lines.values())[:MAX_LINES]:
            points = sorted((int(row["data.batch_size"]), row[column]) for row in line if row[column])
            axes.plot(*zip(*points, strict=True), "o-", label=format_values(line[0], others) or None)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="batch size", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if others and axes.lines:
            axes.legend(frameon=False, title=format_plot_text(", ".join(others), MAX_LABEL_CHARACTERS))
    write_figure(path, figure)
