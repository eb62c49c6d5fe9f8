"""Print the table of runs in the width of the terminal; a file or a pipe receives all columns in full."""

import shutil
import sys
from typing import Any

from rich.cells import cell_len, set_cell_size

from firstlight.run.text import format_printable
from firstlight.runs.columns import NUMBER_KINDS, format_cell

# Between two columns.
GAP = "  "
# On a terminal, a longer cell loses its middle.
MAX_CELL_LENGTH = 48
# In a file, a text of this length is not a name: padding to it would make the file unreadable.
MAX_FILE_CELL_LENGTH = 1_000
# Cells that the reason of a failure gets before other columns.
MIN_REASON_WIDTH = 40
# Kinds of columns that a narrow terminal does not show; the first are left out first.
HIDDEN_KINDS = ("code", "duration", "number", "override", "time", "text")


def print_runs(runs: list[dict[str, Any]], columns: list[dict[str, str]], kept: set[str]) -> None:
    """Print a row for each run.

    Args:
        runs: The runs, in the order of the rows.
        columns: The columns.
        kept: Keys of the columns that a narrow terminal shows in any case.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines, hidden = format_table(runs, columns, kept, width)
    print("\n".join(lines))
    if hidden:
        print(
            f"Columns that do not fit: {', '.join(hidden)}. Select with columns=[...], or pipe the output into a file."
        )


def format_table(
    runs: list[dict[str, Any]], columns: list[dict[str, str]], kept: set[str], width: int | None
) -> tuple[list[str], list[str]]:
    """Return the lines of the table, and the labels of the columns that do not fit.

    Args:
        runs: The runs, in the order of the rows.
        columns: The columns.
        kept: Keys of the columns that are not left out.
        width: Width of the terminal in cells; None: unlimited.
    """
    max_length = MAX_FILE_CELL_LENGTH if width is None else MAX_CELL_LENGTH
    cells = {
        column["key"]: [
            format_printable(text, max_length)
            for text in (column["label"], *(format_cell(run, column) for run in runs))
        ]
        for column in columns
    }
    if columns[-1]["key"] == "reason":  # The end of the line truncates it.
        cells["reason"] = ["reason", *(format_printable(run["reason"], MAX_FILE_CELL_LENGTH) for run in runs)]
    widths = {key: max(map(cell_len, texts)) for key, texts in cells.items()}
    min_widths = {key: min(size, MIN_REASON_WIDTH) if key == "reason" else size for key, size in widths.items()}
    shown = fit_columns(columns, min_widths, kept, width)
    lines = [
        format_line([(cells[column["key"]][index], widths[column["key"]], column["kind"]) for column in shown], width)
        for index in range(len(runs) + 1)
    ]
    return lines, [format_printable(column["label"], MAX_CELL_LENGTH) for column in columns if column not in shown]


def fit_columns(
    columns: list[dict[str, str]], widths: dict[str, int], kept: set[str], width: int | None
) -> list[dict[str, str]]:
    """Return the columns that fit in a terminal, in their order."""
    if width is None:
        return columns
    optional = [column for column in columns if column["kind"] in HIDDEN_KINDS and column["key"] not in kept]
    shown = [column["key"] for column in columns if column not in optional]
    remaining = width - sum(widths[key] + len(GAP) for key in shown) + len(GAP)
    # Sorting is stable: within a kind, the first columns are shown.
    for column in sorted(optional, key=lambda column: HIDDEN_KINDS.index(column["kind"]), reverse=True):
        if widths[column["key"]] + len(GAP) <= remaining:
            shown.append(column["key"])
            remaining -= widths[column["key"]] + len(GAP)
    return [column for column in columns if column["key"] in shown]


def format_line(cells: list[tuple[str, int, str]], width: int | None) -> str:
    """Return a line of the table; numbers are aligned to the right.

    Args:
        cells: Text, width and kind of each cell.
        width: Width of the terminal in cells; None: unlimited.
    """
    parts = []
    for text, size, kind in cells:
        padding = " " * (size - cell_len(text))
        parts.append(padding + text if kind in NUMBER_KINDS else text + padding)
    line = GAP.join(parts).rstrip()
    return line if width is None or cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"
