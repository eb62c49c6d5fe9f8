"""Print the table of runs:  python -m firstlight.runs runs=logs/sweep/<sweep> sort=test/accuracy"""

from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.files import to_plain_dict
from firstlight.run.metrics import find_direction, select_comparison_metrics
from firstlight.run.text import format_printable
from firstlight.run_data.search_dirs import validate_search_dirs


@command("runs")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Print the table of runs, or how two runs differ, and return the same with more details."""
    search_dirs = validate_search_dirs(cfg.runs)
    settings = to_plain_dict(cfg)
    limit = validate_limit(settings["limit"])
    if settings["compare"] is not None:
        from firstlight.runs.compare import compare_runs

        return compare_runs(settings["compare"], search_dirs)
    # Imported after the checks, so that errors in the arguments are reported immediately.
    from firstlight.runs.columns import select_columns
    from firstlight.runs.load import load_runs_and_sweeps
    from firstlight.runs.query import filter_runs, find_sort_column, sort_runs

    all_runs, sweeps = load_runs_and_sweeps(search_dirs)
    if not all_runs:
        print(f"No runs found in {' and '.join(map(str, search_dirs))}. Run `make train` first.")
        return {**summarize([], []), "sweeps": sweeps}
    matched = filter_runs(all_runs, settings["filter"])
    columns = select_columns(settings["columns"], matched or all_runs)
    sort_column = find_sort_column(settings["sort"], all_runs)
    runs = sort_runs(matched, sort_column, settings["sort"])[:limit]
    if runs:
        from firstlight.runs.table import print_runs

        main_metric = [f"metrics/{name}" for name in select_comparison_metrics(matched)[:1]]
        print_runs(runs, columns, {sort_column["key"], *main_metric})
    print_counts(matched, runs, all_runs)
    print_unfinished_sweeps(sweeps)
    return {**summarize(matched, runs), "sweeps": sweeps}


def validate_limit(value: Any) -> int:
    """Return the maximum number of rows.

    Raises:
        ConfigError: If it is not a positive integer.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigError(invalid_value("limit", value, "a positive integer", "Use e.g. limit=50."))


def summarize(matched: list[dict[str, Any]], listed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the listed runs, and a comparison of all runs that match the filter.

    Returns:
        "runs": the rows of `load_run`, "num_runs": number of runs that match the filter, "hyperparameters": keys that
        vary between them, "best": the best run of each metric, "seeds": statistics over runs that differ only in seed
        or fold.
    """
    from firstlight.run_data.comparison import aggregate_repeats, list_varying_hyperparameters

    seeds = [
        {
            "overrides": group["overrides"],
            "num_runs": group["runs"],
            "metrics": {
                name: {"mean": values[0], "std": values[1]} for name, values in group["metrics"].items() if values
            },
        }
        for group in aggregate_repeats(matched)
    ]
    return {
        "runs": listed,
        "num_runs": len(matched),
        "statuses": dict(Counter(run["status"] for run in matched)),
        "hyperparameters": list_varying_hyperparameters(matched),
        "best": find_best_runs(matched),
        "seeds": seeds,
    }


def find_best_runs(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the best run of each comparison metric whose direction is known."""
    best = {}
    for metric in select_comparison_metrics(runs):
        values = [(run["metrics"].get(metric), run) for run in runs]
        numbers = [(value, run) for value, run in values if isinstance(value, int | float)]
        if numbers and (direction := find_direction(metric)):
            value, run = (min if direction == "min" else max)(numbers, key=lambda pair: pair[0])
            names = {"name": run["name"], "run_dir": run["run_dir"], "overrides": run["overrides"]}
            best[metric] = {"direction": direction, "value": value, **names}
    return best


def print_counts(matched: list[dict[str, Any]], listed: list[dict[str, Any]], runs: list[dict[str, Any]]) -> None:
    """Print how many runs match the filter, and how many of them the table lists."""
    statuses = ", ".join(f"{count} {status}" for status, count in Counter(run["status"] for run in matched).items())
    of_all = f" of {len(runs):,}" if len(matched) < len(runs) else ""
    listing = f"; {len(listed):,} listed, use limit={len(matched)} for all" if len(listed) < len(matched) else ""
    noun = "run" if len(runs) == 1 else "runs"
    print(f"{len(matched):,}{of_all} {noun}" + (f" ({format_printable(statuses)})" if statuses else "") + listing)


def print_unfinished_sweeps(sweeps: list[dict[str, Any]]) -> None:
    """Print a line for each sweep with jobs that have not finished."""
    for sweep in sweeps:
        counts = Counter(job["status"] for job in sweep["unfinished_jobs"])
        if counts:
            statuses = format_printable(", ".join(f"{count} {status}" for status, count in counts.items()))
            print(f"sweep {format_printable(str(Path(sweep['sweep_dir'])))}: {statuses} of {sweep['num_jobs']:,} jobs")


if __name__ == "__main__":
    main()
