"""Compare runs: varying hyperparameters, columns of the table, statistics over seeds and folds."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from firstlight.run.metrics import select_comparison_metrics
from firstlight.run.overrides import find_varying_overrides

MAX_SELECTED = 8
# Overrides that name a run and do not affect its results.
NAME_KEYS = ("output_dir", "name")
# Overrides that repeat a configuration.
FOLD_KEY = "data.fold"
REPEAT_KEYS = ("seed", FOLD_KEY)
SPEED, MEMORY, DATA_WAIT = "speed/samples_per_s", "speed/peak_memory_gib", "speed/data_wait_fraction"


def list_varying_hyperparameters(runs: list[dict[str, Any]]) -> list[str]:
    """Return the config keys that differ between runs and affect their results."""
    keys = find_varying_overrides([run["overrides"] for run in runs if run["status"] != "corrupt"])
    return [key for key in keys if key not in NAME_KEYS]


def make_columns(runs: list[dict[str, Any]], hyperparameters: list[str]) -> list[dict[str, str]]:
    """Return the columns of the table: key of the value in a run, label, and kind of the value."""
    return [
        make_column("name", "run", "name"),
        make_column("status", "status", "text"),
        *make_progress_columns(runs),
        *(make_column(f"overrides/{key}", key, "override") for key in hyperparameters),
        *(make_column(f"metrics/{name}", name, "number") for name in select_comparison_metrics(runs)),
        *(make_column(f"metrics/{name}", label, kind) for name, (label, kind) in make_speed_columns(runs).items()),
        make_column("duration_s", "duration", "duration"),
        make_column("commit", "commit", "code"),
        make_column("started", "started", "time"),
    ]


def make_column(key: str, label: str, kind: str) -> dict[str, str]:
    """Return one column."""
    return {"key": key, "label": label, "kind": kind}


def make_progress_columns(runs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the columns of runs that are running, as far as a run has values."""
    columns = [make_column("progress", "progress", "fraction"), make_column("left_s", "time left", "duration")]
    return [column for column in columns if any(run.get(column["key"]) is not None for run in runs)]


def make_speed_columns(runs: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return label and kind of the metrics of speed that at least one run has."""
    columns = {SPEED: ("samples/s", "number"), MEMORY: ("peak GiB", "number"), DATA_WAIT: ("data wait", "fraction")}
    return {name: column for name, column in columns.items() if any(name in run["metrics"] for run in runs)}


def get_default_selection(runs: list[dict[str, Any]]) -> list[int]:
    """Return the indices of the runs that are selected when the page opens: the best, and among equals the newest."""
    valid = [index for index, run in enumerate(runs) if run["status"] != "corrupt"]

    def get_test_accuracy(index: int) -> float:
        value = runs[index]["metrics"].get("test/accuracy")
        return value if isinstance(value, int | float) else -1.0

    # Runs are sorted by start time, newest first, and sorted() is stable.
    return sorted(valid, key=get_test_accuracy, reverse=True)[:MAX_SELECTED]


def aggregate_repeats(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return statistics over the finished runs of each configuration: they differ only in their seed or fold.

    Args:
        runs: Mappings with the entries "overrides" by key, "status", "seed" and "metrics".

    Returns:
        A row for each configuration with at least two finished runs: "overrides", "runs" (their number), "total" (with
        the runs that are not finished), and "metrics": mean, standard deviation and number of values, or None.
    """
    groups: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
    for run in runs:
        overrides = {key: value for key, value in run["overrides"].items() if key not in (*REPEAT_KEYS, *NAME_KEYS)}
        groups.setdefault(tuple(sorted(overrides.items())), []).append(run)
    finished = {key: [run for run in group if run["status"] == "finished"] for key, group in groups.items()}
    repeated = {
        key: group
        for key, group in finished.items()
        if len({(run["seed"], run["overrides"].get(FOLD_KEY)) for run in group}) > 1
    }
    varying = list_varying_hyperparameters([run for group in repeated.values() for run in group])
    metrics = select_comparison_metrics(runs)
    return [
        {
            "overrides": ", ".join(f"{key}={value}" for key, value in overrides if key in varying)
            or "(all overrides equal)",
            "runs": len(group),
            "total": len(groups[overrides]),
            "metrics": {name: compute_mean_and_std(run["metrics"].get(name) for run in group) for name in metrics},
        }
        for overrides, group in repeated.items()
    ]


def compute_mean_and_std(values: Iterable[Any]) -> list[float] | None:
    """Return mean, sample standard deviation (n - 1) and number of finite numbers, or None for fewer than two."""
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return [statistics.mean(numbers), statistics.stdev(numbers), len(numbers)] if len(numbers) > 1 else None
