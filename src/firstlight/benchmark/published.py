"""Where the results of a benchmark stand among published ones, which were measured by others and are not checked."""

import csv
from pathlib import Path
from typing import Any

from rich.table import Table

from firstlight.benchmark.conditions import format_conditions
from firstlight.benchmark.tables import format_number
from firstlight.cli.console import print_table

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
# Sizes of the inputs of all published results, where they are stated.
PUBLISHED_INPUTS = ("224 px", "128 tokens")
COLUMNS = ("chip", "batch_size", "input", "precision", "framework", "remark", "source")


def load_published_results() -> list[dict[str, str]]:
    """Return the published results: workload, phase, samples_per_s, their conditions and their source."""
    with PUBLISHED_FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def print_comparison(results: dict[str, Any]) -> None:
    """Print each result of the Trainer among the published results of the same network and phase, fastest first.

    Args:
        results: The contents of benchmark.json.
    """
    for workload, phase in list_compared(results):
        rows = rank_results(results, workload, phase)
        table = Table(
            *["", "samples/s", *(column.replace("_", " ") for column in COLUMNS)], title=f"{workload} {phase}"
        )
        for row in rows:
            marker = ">" if row["is_own"] else ""
            table.add_row(marker, format_number(row["samples_per_s"]), *(row[column] for column in COLUMNS))
        print_table(table)
        for place, row in enumerate(rows, start=1):
            if row["is_own"]:
                print(f"{workload} {phase} on {row['chip']}: place {place} of {len(rows)}", flush=True)
    compared = {workload for workload, _ in list_compared(results)}
    models = {result["model"]: None for result in results["results"] if result["published"] not in compared}
    if models:
        print(f"No published results of: {', '.join(models)}", flush=True)


def list_compared(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the workloads and phases that were measured and have published results."""
    published = {(row["workload"], row["phase"]) for row in load_published_results()}
    comparable = [result for result in results["results"] if result["input"] in PUBLISHED_INPUTS]
    measured = dict.fromkeys((result["published"], result["phase"]) for result in comparable)
    return [key for key in measured if key in published]


def rank_results(results: dict[str, Any], workload: str, phase: str) -> list[dict[str, Any]]:
    """Return the results of a workload, published ones and of this machine, fastest first.

    Args:
        results: The contents of benchmark.json.
        workload: Name of the workload among the published results.
        phase: "train" or "eval".
    """
    rows: list[dict[str, Any]] = [
        {**row, "samples_per_s": float(row["samples_per_s"]), "is_own": False}
        for row in load_published_results()
        if (row["workload"], row["phase"]) == (workload, phase)
    ]
    rows += [
        {
            "samples_per_s": result["samples_per_s"],
            "chip": f"{result['chip']}{' (CPU)' if result['device'] == 'cpu' else ''}",
            "batch_size": str(result["batch_size"]),
            "input": result["input"],
            "precision": result["precision"],
            "framework": f"torch {results['versions'].get('torch', '')}",
            "remark": format_conditions(result),
            "source": "this machine",
            "is_own": True,
        }
        for result in results["results"]
        if (result["published"], result["phase"], result["loop"]) == (workload, phase, "trainer")
    ]
    return sorted(rows, key=lambda row: -float(row["samples_per_s"]))
