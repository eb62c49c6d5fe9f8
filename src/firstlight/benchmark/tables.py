"""Print the results of a benchmark as a table."""

from typing import Any

from rich.table import Table

from firstlight.benchmark.conditions import format_conditions
from firstlight.cli.console import print_table


def format_throughput(result: dict[str, Any]) -> str:
    """Return the median throughput of a result with its minimum and maximum."""
    low, high, unit = result["lowest"], result["highest"], "samples" if result["batch_size"] else "steps"
    return f"{format_number(result['samples_per_s'])} {unit}/s ({format_number(low)} to {format_number(high)})"


def format_number(value: float) -> str:
    """Return a number with at least three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_results_table(results: dict[str, Any]) -> None:
    """Print one row per workload, phase and device, for the Trainer, with its ratio to the plain loop, and failures.

    Args:
        results: The contents of benchmark.json.
    """
    names = ("model", "phase", "device", "batch size", "samples/s", "of plain loop", "speed-up", "peak GiB")
    table = Table(*names, "of matmul peak", "n", "conditions")
    ratios = compute_ratios(results["results"])
    speedups = {make_result_key(speedup): speedup["speedup"] for speedup in results["speedups"]}
    for result in results["results"]:
        if result["loop"] == "trainer":
            key = make_result_key(result)
            table.add_row(
                result["model"],
                result["phase"],
                result["device"],
                str(result["batch_size"] or ""),
                format_number(result["samples_per_s"]) + ("" if result["batch_size"] else " steps/s"),
                f"{ratios[key]:.2f}" if key in ratios else "",
                f"{speedups[key]:.1f}" if key in speedups and key[2] != "cpu" else "",
                f"{result['peak_memory_gib']:.1f}",
                f"{result['matmul_share']:.0%}" if result["flops_per_s"] else "",
                str(result["repeats"]),
                format_conditions(result),
            )
    for failure in results["failures"]:
        table.add_row(
            failure["model"], failure["phase"] or "all", failure["device"], "", "failed", *[""] * 5, failure["reason"]
        )
    print_table(table)


def compute_ratios(results: list[dict[str, Any]]) -> dict[tuple[str, str, str], float]:
    """Return the throughput of the Trainer relative to the plain loop, by model, phase and device."""
    plain = {make_result_key(result): result["samples_per_s"] for result in results if result["loop"] == "plain"}
    return {
        make_result_key(result): result["samples_per_s"] / plain[make_result_key(result)]
        for result in results
        if result["loop"] == "trainer" and make_result_key(result) in plain
    }


def make_result_key(result: dict[str, Any]) -> tuple[str, str, str]:
    """Return model, phase and device, which identify a result among all results of a loop."""
    return result["model"], result["phase"], result["device"]
