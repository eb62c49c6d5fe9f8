"""Compare runs: which settings differ, which columns the table has, what seeds alone change."""

import statistics
from collections.abc import Iterable
from typing import Any

from firstlight.run.overrides import find_varying_overrides

# These come first, whatever else was measured.
FIRST_METRICS = ("test/accuracy", "test/f1", "test/loss", "val/accuracy")
MAX_METRICS = 10
MAX_SELECTED = 8
# Settings that name a run and change nothing in it.
NAMES = ("output_dir", "name")
SPEED, MEMORY = "speed/samples_per_s", "speed/peak_memory_gib"


def list_varying_hyperparameters(runs: list[dict[str, Any]]) -> list[str]:
    """Return the settings that differ between runs and change something in them."""
    found = find_varying_overrides([run["overrides"] for run in runs if run["status"] != "damaged"])
    return [name for name in found if name not in NAMES]


def list_metrics(runs: list[dict[str, Any]]) -> list[str]:
    """Return the figures of tests and validations that any run has."""
    found = {name for run in runs for name in run["metrics"] if name.startswith(("test/", "val/"))}
    first = [name for name in FIRST_METRICS if name in found]
    return [*first, *sorted(found - set(first))][:MAX_METRICS]


def make_columns(runs: list[dict[str, Any]], settings: list[str]) -> list[dict[str, str]]:
    """Return the columns of the table: where the page finds the value, what stands above it, and how it is written."""
    return [
        make_column("name", "run", "name"),
        make_column("status", "status", "text"),
        *(make_column(f"overrides/{name}", name, "setting") for name in settings),
        *(make_column(f"metrics/{name}", name, "number") for name in list_metrics(runs)),
        *(make_column(f"metrics/{name}", label, "number") for name, label in make_speed_columns(runs).items()),
        make_column("duration_s", "duration", "duration"),
        make_column("commit", "commit", "code"),
        make_column("started", "started", "time"),
    ]


def make_column(key: str, label: str, kind: str) -> dict[str, str]:
    """Return one column."""
    return {"key": key, "label": label, "kind": kind}


def make_speed_columns(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the figures of throughput and memory that any run has, with their units."""
    labels = {SPEED: "samples/s", MEMORY: "peak GiB"}
    return {name: label for name, label in labels.items() if any(name in run["metrics"] for run in runs)}


def get_default_selection(runs: list[dict[str, Any]]) -> list[int]:
    """Return the places of the runs that the page opens with: the most accurate, then the newest."""
    able = [index for index, run in enumerate(runs) if run["status"] != "damaged"]

    def accuracy(index: int) -> float:
        value = runs[index]["metrics"].get("test/accuracy")
        return value if isinstance(value, int | float) else -1.0

    # Runs come newest first, and sorting keeps that order among equals.
    return sorted(able, key=accuracy, reverse=True)[:MAX_SELECTED]


def aggregate_seeds(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation of each metric over runs that differ in nothing but their seed."""
    groups: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
    for run in runs:
        if run["status"] == "finished":
            rest = {name: value for name, value in run["overrides"].items() if name not in ("seed", *NAMES)}
            groups.setdefault(tuple(sorted(rest.items())), []).append(run)
    seeded = {rest: group for rest, group in groups.items() if len({run["seed"] for run in group}) > 1}
    names = list_varying_hyperparameters([run for group in seeded.values() for run in group])
    figures = list_metrics(runs)
    return [
        {
            "settings": ", ".join(f"{name}={value}" for name, value in rest if name in names) or "the same in all",
            "runs": len(group),
            "metrics": {name: compute_mean_and_std(run["metrics"].get(name) for run in group) for name in figures},
        }
        for rest, group in seeded.items()
    ]


def compute_mean_and_std(values: Iterable[Any]) -> list[float] | None:
    """Return mean and sample standard deviation; None for fewer than two numbers."""
    numbers = [value for value in values if isinstance(value, int | float)]
    return [statistics.mean(numbers), statistics.stdev(numbers)] if len(numbers) > 1 else None
