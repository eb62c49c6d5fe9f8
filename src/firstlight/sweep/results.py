"""Results of a sweep: a printed table, results.csv and plots."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table

from firstlight.cli.console import print_table
from firstlight.run.files import write_atomically
from firstlight.run.metrics import select_comparison_metrics
from firstlight.run.overrides import find_varying_overrides
from firstlight.run.text import format_csv, format_table_cell
from firstlight.run_data.comparison import aggregate_repeats
from firstlight.run_data.run_status import NOT_STARTED
from firstlight.sweep.jobs import load_all_jobs

# Columns that follow the metrics, and their path in run.json.
COST_COLUMNS = {
    "samples/s": ("metrics", "speed/samples_per_s"),
    "peak GiB": ("metrics", "speed/peak_memory_gib"),
    "seconds": ("duration_s",),
}
# If a metric is logged, the printed table shows only this one.
MAIN_METRIC = "test/accuracy"
MAX_PRINTED_METRICS = 6
# Rows and reasons that are printed; results.csv has all of them.
MAX_PRINTED_ROWS = 100


def parse_user_overrides(overrides: list[str]) -> dict[str, str]:
    """Return the overrides of a job by key, without those that the sweep adds to each job."""
    settings = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return {key: value for key, value in settings.items() if key not in ("output_dir", "name", "group")}


def collect_results(sweep_dir: Path, metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row per job, sorted by job number.

    Args:
        sweep_dir: The sweep directory.
        metrics: Metrics that come first.

    Returns:
        Rows with the varying overrides of the job, its "status", its metrics, "reason" and "run_dir".
    """
    records = [record for record in load_all_jobs(sweep_dir) if is_complete_record(record)]
    jobs = [parse_user_overrides(record["overrides"]) for record in records]
    keys = find_varying_overrides(jobs) or list(dict.fromkeys(key for settings in jobs for key in settings))
    names = dict.fromkeys([*metrics, *select_comparison_metrics(records)])
    columns = {name: ("metrics", name) for name in names} | COST_COLUMNS
    return [
        {key: settings.get(key, "") for key in keys}
        | {"status": record["status"]}
        | {column: _get_nested(record, path) for column, path in columns.items()}
        | {"reason": record.get("reason") or "", "run_dir": record["run_dir"]}
        for record, settings in zip(records, jobs, strict=True)
    ]


def collect_statistics(sweep_dir: Path) -> list[dict[str, Any]]:
    """Return mean and standard deviation over seeds and folds for each configuration. See `aggregate_repeats`."""
    records = [record for record in load_all_jobs(sweep_dir) if is_complete_record(record)]
    return aggregate_repeats(
        [
            {
                "overrides": parse_user_overrides(record["overrides"]),
                "status": record["status"],
                "seed": record.get("seed"),
                "metrics": record["metrics"] if isinstance(record.get("metrics"), dict) else {},
            }
            for record in records
        ]
    )


def is_complete_record(record: dict[str, Any]) -> bool:
    """Return True if a run.json contains the fields that a row of the results needs."""
    overrides = record.get("overrides")
    return (
        isinstance(overrides, list)
        and all(isinstance(override, str) for override in overrides)
        and isinstance(record.get("status"), str)
    )


def _get_nested(record: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def write_results_and_plots(sweep_dir: Path, rows: list[dict[str, Any]]) -> None:
    """Write results.csv and results.png, and batch_sizes.png if the batch size was swept."""
    from firstlight.sweep.plots import plot_batch_size_sweep, plot_sweep_results

    columns = list(rows[0])
    write_atomically(
        sweep_dir / "results.csv", format_csv([columns, *([row[name] for name in columns] for row in rows)])
    )
    results = columns[columns.index("status") + 1 : columns.index("reason")]
    plot_sweep_results(rows, results, sweep_dir / "results.png")
    if len({row.get("data.batch_size") for row in rows if row["status"] == "finished"}) > 1:
        plot_batch_size_sweep(rows, sweep_dir / "batch_sizes.png")


def report_statistics(sweep_dir: Path, metrics: Sequence[str] = ()) -> None:
    """Write and print the statistics over seeds and folds, if a configuration has several finished jobs.

    Args:
        sweep_dir: The sweep directory.
        metrics: Metrics to print in any case.
    """
    if statistics := collect_statistics(sweep_dir):
        write_statistics(sweep_dir, statistics)
        print_statistics(statistics, metrics)


def write_statistics(sweep_dir: Path, statistics: list[dict[str, Any]]) -> None:
    """Write statistics.csv: for each configuration, number of runs, and mean and standard deviation of each metric."""
    names = [name for name in statistics[0]["metrics"] if any(row["metrics"][name] for row in statistics)]
    header = ["overrides", "runs", "total", *(f"{name} {kind}" for name in names for kind in ("mean", "std", "n"))]
    rows = [
        [row["overrides"], row["runs"], row["total"], *chain(*(row["metrics"][name] or [None] * 3 for name in names))]
        for row in statistics
    ]
    write_atomically(sweep_dir / "statistics.csv", format_csv([header, *rows]))


def print_statistics(statistics: list[dict[str, Any]], metrics: Sequence[str] = ()) -> None:
    """Print mean ± standard deviation over seeds and folds, and the number n of finished runs.

    Args:
        statistics: Result of `collect_statistics`, not empty.
        metrics: Metrics to print in any case.
    """
    measured = [name for name in statistics[0]["metrics"] if any(row["metrics"][name] for row in statistics)]
    shown = [name for name in measured if name in {*select_printed_metrics(measured), *metrics}]
    title = "Mean ± standard deviation over seeds and folds"
    table = Table("overrides", "n", *map(format_table_cell, shown), title=title, title_justify="left")
    for row in statistics[:MAX_PRINTED_ROWS]:
        count = f"{row['runs']} of {row['total']}" if row["runs"] < row["total"] else str(row["runs"])
        values = [row["metrics"][name] for name in shown]
        cells = [f"{value[0]:.4g} ± {value[1]:.2g}" if value else "" for value in values]
        table.add_row(format_table_cell(row["overrides"]), count, *cells)
    print_table(table)


def select_printed_metrics(measured: list[str]) -> list[str]:
    """Return the metrics of the printed tables."""
    return [MAIN_METRIC] if MAIN_METRIC in measured else measured[:MAX_PRINTED_METRICS]


def print_results(sweep_dir: Path, rows: list[dict[str, Any]], metrics: Sequence[str] = ()) -> None:
    """Print the table of results, then the reason of each job that started but did not finish.

    Args:
        sweep_dir: The sweep directory.
        rows: The rows of `collect_results`.
        metrics: Metrics to print in any case.
    """
    results = list(rows[0])[list(rows[0]).index("status") + 1 : -2]
    measured = [name for name in results if name not in COST_COLUMNS]
    shown = select_printed_metrics(measured)
    hidden = {*measured, "reason", "run_dir"} - {*shown, *metrics}
    columns = [name for name in rows[0] if name not in hidden and any(row[name] not in (None, "") for row in rows)]
    table = Table(*map(format_table_cell, columns), title=format_table_cell(sweep_dir), title_justify="left")
    for row in rows[:MAX_PRINTED_ROWS]:
        cells = [
            f"{row[name]:.4g}" if isinstance(row[name], float) else format_table_cell(row[name] or "")
            for name in columns
        ]
        table.add_row(*cells, style=None if row["status"] == "finished" else "red")
    print_table(table)
    unfinished = [row for row in rows if row["status"] not in ("finished", NOT_STARTED)]
    for row in unfinished[:MAX_PRINTED_ROWS]:
        print(f"{row['status']}: {row['run_dir']}: {row['reason']}")
    if len(rows) > MAX_PRINTED_ROWS:
        print(f"Printed at most {MAX_PRINTED_ROWS} of {len(rows):,} jobs. All jobs: {sweep_dir / 'results.csv'}")
