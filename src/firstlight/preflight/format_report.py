"""Summarize a dry run as plain values, and format the summary as text."""

import textwrap
from typing import Any

from firstlight.hardware.device import GIB, get_local_mps_limit
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import HEADROOM, MAC_SIZES_GB, MemoryEstimate, format_batch_size_advice, get_usable_bytes
from firstlight.mps.recorder import MEMORY_CATEGORIES

# Characters of the label before each line, including the space after it.
LABEL_WIDTH, TEXT_WIDTH = 20, 80
# Where each number was checked. The tests compare the memory: tests/firstlight/support/tracked_memory.py uses torch's
# MemTracker, and tests/firstlight/support/emulated_mps.py an emulated device.
CHECKED = {
    "memory": "arithmetic on tensor sizes; on Linux within 1 % of torch's MemTracker, and within 5 % of the "
    "allocations of an emulated device; not checked on a Mac",
    "usable GiB": "an assumption, 3/4 of what macOS gives the GPU; not checked on a Mac",
}


def summarize(report: DryRunReport, batch_size: int | None, mac_memory_gb: float | None) -> dict[str, Any]:
    """Return the results as plain values, with memory in bytes.

    Args:
        report: Result of the dry run.
        batch_size: Batch size of the run; None: unknown, so that no other batch size can be judged.
        mac_memory_gb: Memory of the Mac in GB. If None, the limit of this Mac applies; on other machines, the limit of
            the largest Mac.
    """
    errors, estimate = report.format_messages("error"), report.memory_estimate
    if estimate and batch_size and (memory_error := format_memory_error(estimate, batch_size, mac_memory_gb)):
        errors.append(memory_error)
    usable_bytes = {str(size): round(get_usable_bytes(size)) for size in MAC_SIZES_GB}
    max_batch_sizes = {}
    if estimate:
        max_batch_sizes = {str(size): estimate.find_max_batch_size(get_usable_bytes(size)) for size in MAC_SIZES_GB}
    return {
        "batch_size": batch_size,
        "passed": not errors,
        "complete": bool(report.peaks),
        "errors": errors,
        "warnings": report.format_messages("warning"),
        "nondeterministic": report.nondeterministic,
        "operators": {phase: dict(sorted(calls.items())) for phase, calls in report.operators.items()},
        "memory": {
            phase: {**categories, "peak": sum(categories.values())} for phase, categories in report.peaks.items()
        },
        "usable_bytes": usable_bytes,
        "max_batch_size": max_batch_sizes,
        "checked": CHECKED,
    }


def format_memory_error(estimate: MemoryEstimate, batch_size: int, mac_memory_gb: float | None) -> str | None:
    """Return the message for a batch that does not fit into the memory, or None if it fits."""
    limit = get_local_mps_limit()
    if mac_memory_gb is not None:
        available, machine = get_usable_bytes(mac_memory_gb), f"a Mac with {mac_memory_gb} GB"
    elif limit is not None:
        available, machine = limit * (1 - HEADROOM), "this Mac"
    else:
        available, machine = get_usable_bytes(MAC_SIZES_GB[-1]), f"the largest Mac ({MAC_SIZES_GB[-1]} GB)"
    peak = estimate.get_peak_bytes(batch_size)
    if peak <= available:
        return None
    return (
        f"data.batch_size={batch_size} needs about {peak / GIB:.1f} GiB, but a run on {machine} may use "
        f"{available / GIB:.1f} GiB. {format_batch_size_advice(estimate, available)}"
    )


def format_text(results: dict[str, Any]) -> str:
    """Return the results as text that fits on one screen."""
    counts = [f"{len(calls)} in {phase}" for phase, calls in results["operators"].items()]
    size = f"batch size {results['batch_size'] or 'of the dataloader'}"
    run = f"{results['model']} on {results['data']}, {size}, {results['precision']}"
    reproducible = "none (results are reproducible with the same seed)"
    rows = [
        *format_block("run", [run, *filter(None, [results["note"]])]),
        ("", "one step traced on shapes: checks operators and memory, not numerics or speed"),
        ("operators", ", ".join(counts) or "not checked"),
        *format_block("errors", results["errors"] or ["none"]),
        *format_block("warnings", results["warnings"] or ["none"]),
        ("nondeterministic", ", ".join(results["nondeterministic"]) or reproducible),
    ]
    if results["memory"]:
        rows += [("", ""), *format_block("memory", format_memory_table(results["memory"]))]
    if comparison := results.get("activation_checkpointing"):
        rows += [("", ""), ("checkpointing", format_comparison(comparison))]
    if results["max_batch_size"]:
        rows += [("", ""), *format_block("largest batch size", format_mac_table(results))]
    if results["memory"]:
        notes = [textwrap.wrap(f"{name}: {note}", TEXT_WIDTH) for name, note in CHECKED.items()]
        rows += [("", ""), *format_block("checked", [line for lines in notes for line in lines])]
    return "\n".join(f"{label:<{LABEL_WIDTH}}{text}".rstrip() for label, text in rows)


def format_comparison(comparison: dict[str, Any]) -> str:
    """Return a line about the peak memory with and without activation checkpointing."""
    with_, without = (comparison[key] / GIB for key in ("peak_with", "peak_without"))
    if comparison["enabled"]:
        return f"training peak {with_:.2f} GiB; {without:.2f} GiB with trainer.activation_checkpointing=false"
    return f"training peak {without:.2f} GiB; {with_:.2f} GiB with trainer.activation_checkpointing=true"


def format_block(label: str, lines: list[str]) -> list[tuple[str, str]]:
    """Return lines of which the first has a label."""
    return [(label if index == 0 else "", line) for index, line in enumerate(lines)]


def format_memory_table(memory: dict[str, dict[str, int]]) -> list[str]:
    """Return the lines of a table with the peak memory in GiB by category, for training and evaluation."""
    rows = {"GiB at peak": list(memory)}
    for category in (*MEMORY_CATEGORIES, "peak"):
        rows[category] = [f"{categories[category] / GIB:.2f}" for categories in memory.values()]
    return [f"{label:<20}" + "".join(f"{cell:>12}" for cell in cells) for label, cells in rows.items()]


def format_mac_table(results: dict[str, Any]) -> list[str]:
    """Return the lines of a table with the memory that a run may use and the largest batch size, for each Mac."""
    usable_gib = [size / GIB for size in results["usable_bytes"].values()]
    return [
        f"{'Mac memory':<20}" + "".join(f"{size + ' GB':>8}" for size in results["usable_bytes"]),
        f"{'usable GiB':<20}" + "".join(f"{size:>8.1f}" for size in usable_gib),
        f"{'batch size':<20}" + "".join(f"{size:>8,}" for size in results["max_batch_size"].values()),
    ]
