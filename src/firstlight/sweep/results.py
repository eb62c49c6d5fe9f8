"""The table of a sweep: on the screen, in results.csv and in charts."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from firstlight.cli.console import print_table
from firstlight.run.files import write_atomically
from firstlight.run.overrides import find_varying_overrides
from firstlight.sweep.jobs import NOT_STARTED, load_all_jobs

# What a row tells beside its overrides: column of the table -> how to find it in run.json.
RESULT_COLUMNS = {
    "test/accuracy": ("metrics", "test/accuracy"),
    "test/f1": ("metrics", "test/f1"),
    "test/loss": ("metrics", "test/loss"),
    "val/accuracy": ("metrics", "val/accuracy"),
    "samples/s": ("metrics", "speed/samples_per_s"),
    "peak GiB": ("metrics", "speed/peak_memory_gib"),
    "duration_s": ("duration_s",),
}


def get_job_settings(words: list[str]) -> dict[str, str]:
    """Return the settings in the words of a job, but for what the sweep itself gives each."""
    settings = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    return {name: value for name, value in settings.items() if name not in ("output_dir", "name", "group")}


def collect_results(folder: Path, metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a row per job, in order: its overrides, status, figures, further metrics, and reason."""
    runs = [run for run in load_all_jobs(folder) if is_complete_record(run)]
    overrides = [get_job_settings(run["overrides"]) for run in runs]
    names = find_varying_overrides(overrides) or list(dict.fromkeys(name for each in overrides for name in each))
    more = {name: ("metrics", name) for name in metrics if ("metrics", name) not in RESULT_COLUMNS.values()}
    return [
        {name: own.get(name, "") for name in names}
        | {"status": run["status"]}
        | {column: _get_nested(run, path) for column, path in {**RESULT_COLUMNS, **more}.items()}
        | {"reason": run.get("reason") or "", "folder": run["folder"]}
        for run, own in zip(runs, overrides, strict=True)
    ]


def is_complete_record(record: dict[str, Any]) -> bool:
    """Say whether a run.json tells what a row of the table needs."""
    words = record.get("overrides")
    return (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and isinstance(record.get("status"), str)
    )


def _get_nested(run: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = run
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def write_results(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write results.csv and results.png, and batch_sizes.png where these were swept."""
    from firstlight.sweep.plots import plot_batch_size_sweep, plot_sweep_results

    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "results.csv", text.getvalue())
    plot_sweep_results(rows, list(RESULT_COLUMNS), folder / "results.png")
    if len({row.get("data.batch_size") for row in rows if row["status"] == "finished"}) > 1:
        plot_batch_size_sweep(rows, folder / "batch_sizes.png")


def print_results(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Print the table, then each failure with its reason."""
    shown = [name for name in rows[0] if name not in ("test/f1", "test/loss", "val/accuracy", "reason", "folder")]
    shown = [name for name in shown if any(row[name] not in (None, "") for row in rows)]
    table = Table(*shown, title=str(folder), title_justify="left")
    for row in rows:
        cells = [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name] or "") for name in shown]
        table.add_row(*cells, style=None if row["status"] == "finished" else "red")
    print_table(table)
    for row in rows:
        if row["status"] not in ("finished", NOT_STARTED):
            print(f"{row['status']}: {row['folder']}: {row['reason']}")
