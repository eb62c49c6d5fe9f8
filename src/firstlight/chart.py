"""Draw the results of a sweep as results.png."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PANELS = ("test/accuracy", "samples/s", "peak GiB")


def draw_results(rows: list[dict[str, Any]], figures: list[str], picture: Path) -> None:
    """Draw a bar per job for accuracy, speed and memory.

    Args:
        rows: a row per job: its overrides first, then "status" and the figures.
        figures: names of the columns that are figures, not overrides.
        picture: file to write.
    """
    overrides = list(rows[0])[: list(rows[0]).index("status")]
    names = [", ".join(str(row[name]) for name in overrides) or str(index) for index, row in enumerate(rows)]
    panels = [name for name in PANELS if name in figures]
    height = 1.6 + 0.32 * len(rows)
    figure = Figure(figsize=(3.2 * len(panels) + 1.8, height), layout="constrained")
    figure.suptitle(", ".join(overrides), fontsize=10)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        values = [row[panel] if isinstance(row[panel], int | float) else 0 for row in rows]
        axes.barh(names, values, color=["tab:blue" if row["status"] == "finished" else "tab:red" for row in rows])
        for index, (row, value) in enumerate(zip(rows, values, strict=True)):
            axes.text(value, index, f" {value:.3g}" if value else f" {row['status']}", va="center", fontsize=8)
        axes.set_title(panel, fontsize=10)
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    figure.savefig(picture, dpi=150)
