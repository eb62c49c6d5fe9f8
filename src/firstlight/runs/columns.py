"""Columns of the table of runs: their names on the command line, their values, and the texts of their cells."""

import math
from datetime import datetime
from typing import Any

from firstlight.run import progress
from firstlight.run.errors import ConfigError, invalid_value, unknown_name
from firstlight.run.text import format_printable
from firstlight.run_data.comparison import list_varying_hyperparameters, make_column, make_columns

# Fields of a run that can be selected by name, and the kinds of their values.
FIELD_KINDS = {
    "name": "name",
    "run_dir": "text",
    "status": "text",
    "reason": "text",
    "seed": "text",
    "epoch": "number",
    "step": "number",
    "duration_s": "duration",
    "samples_per_s": "number",
    "peak_memory_gib": "number",
    "device": "text",
    "commit": "code",
    "started": "time",
    "resumable": "text",
}
NUMBER_KINDS = ("number", "duration", "fraction")
MISSING = "\N{EN DASH}"  # as on the page


def list_default_columns(runs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the columns of the page of `make report`, with the progress of unfinished runs and their reasons."""
    columns = make_columns(runs, list_varying_hyperparameters(runs))
    if any(run["status"] not in ("finished", "corrupt") for run in runs):
        columns.insert(2, make_column("epoch", "epoch", "number"))
    reason = [make_column("reason", "reason", "text")] if any(run["reason"] for run in runs) else []
    return columns + reason


def find_column(name: str, runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the column with a name: a field, a metric or an override of a run, or the label of a default column.

    Raises:
        ConfigError: If no run has such a value.
    """
    if name in FIELD_KINDS:
        return make_column(name, name, FIELD_KINDS[name])
    metrics = dict.fromkeys(key for run in runs for key in run["metrics"])
    overrides = dict.fromkeys(key for run in runs for key in run["overrides"])
    labels = {column["label"]: column for column in list_default_columns(runs)}
    if name in metrics:
        return make_column(f"metrics/{name}", name, "number")
    if name in overrides:
        return make_column(f"overrides/{name}", name, "override")
    if name in labels:
        return labels[name]
    known = [format_printable(key) for key in (*FIELD_KINDS, *metrics, *overrides, *labels)]
    raise ConfigError(unknown_name("column", name, known))


def select_columns(value: Any, runs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the columns that `columns=` names.

    Raises:
        ConfigError: If it is not a list of columns.
    """
    if value is None:
        return list_default_columns(runs)
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(invalid_value("columns", value, "a list of columns", "Use e.g. columns=[name,status]."))
    return [find_column(name, runs) for name in names]


def get_value(run: dict[str, Any], column: dict[str, str]) -> Any:
    """Return the value of a run in a column; None if it is missing."""
    field, _, key = column["key"].partition("/")
    value = run[field].get(key) if key else run[field]
    return None if value == "" else value


def to_number(value: Any) -> float | None:
    """Return a value as a finite number; None if it is another value."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def format_cell(run: dict[str, Any], column: dict[str, str]) -> str:
    """Return the text of a cell, without control characters."""
    value = get_value(run, column)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column["kind"] == "time":
        return format_printable(format_local_time(value))
    if column["kind"] == "duration" and isinstance(value, int | float):
        return format_duration(value)
    if column["kind"] == "fraction" and isinstance(value, int | float):
        return f"{100 * value:.{1 if value < 0.1 else 0}f} %"
    return format_number(value) if isinstance(value, int | float) else format_printable(str(value))


def format_number(value: float) -> str:
    """Return a number with four significant digits; an integer with all of its digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Return a duration as "3.2 s", "4 min 5 s" or "2 h 3 min"."""
    return f"{seconds:.1f} s" if seconds < 60 else progress.format_duration(int(seconds))


def format_local_time(text: Any) -> str:
    """Return an ISO 8601 time in the time zone of the reader."""
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):
        return str(text)
