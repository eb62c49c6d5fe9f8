"""From what a dry run found to the answer: would the training work, on which Mac, with which batch."""

from typing import Any

from firstlight.hardware.device import GIB, get_local_mps_limit
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import HEADROOM, MAC_SIZES_GB, MemoryEstimate, format_batch_size_advice, get_usable_bytes
from firstlight.mps.recorder import MEMORY_CATEGORIES


def summarize(report: DryRunReport, batch_size: int, memory_gb: float | None) -> dict[str, Any]:
    """Return the answer as plain values, memory in bytes.

    Args:
        report: what the dry run found.
        batch_size: that of the training.
        memory_gb: memory of the Mac that it must fit; None means this one, or else any.
    """
    faults, need = report.format_messages("fault"), report.memory_estimate
    if need and (problem := format_memory_error(need, batch_size, memory_gb)):
        faults.append(problem)
    return {
        "batch_size": batch_size,
        "works": not faults,
        "judged": need is not None,
        "faults": faults,
        "warnings": report.format_messages("warning"),
        "varies": report.nondeterministic,
        "operators": {name: dict(sorted(calls.items())) for name, calls in report.operators.items()},
        "memory": {name: {**parts, "peak": sum(parts.values())} for name, parts in report.peaks.items()},
        "usable": {str(size): round(get_usable_bytes(size)) for size in MAC_SIZES_GB},
        "largest_batch": {str(size): need.find_max_batch_size(get_usable_bytes(size)) for size in MAC_SIZES_GB}
        if need
        else {},
    }


def format_memory_error(need: MemoryEstimate, batch_size: int, memory_gb: float | None) -> str | None:
    """Return the sentence about a batch that is too large; None if it fits."""
    limit = get_local_mps_limit()
    if memory_gb is not None:
        available, where = get_usable_bytes(memory_gb), f"on a Mac of {memory_gb} GB"
    elif limit is not None:
        available, where = limit * (1 - HEADROOM), "on this Mac"
    else:
        available, where = get_usable_bytes(MAC_SIZES_GB[-1]), f"on the largest Mac, of {MAC_SIZES_GB[-1]} GB,"
    if need.get_peak_bytes(batch_size) <= available:
        return None
    return (
        f"data.batch_size={batch_size} needs about {need.get_peak_bytes(batch_size) / GIB:.1f} GiB, but a training {where} gets "
        f"{available / GIB:.1f}: {format_batch_size_advice(need, available)}"
    )


def format_text(found: dict[str, Any]) -> str:
    """Return the answer as one screen of text."""
    counts = [f"{len(calls)} kinds in {name}" for name, calls in found["operators"].items()]
    rows = [
        ("training", f"{found['model']} on {found['data']}, batches of {found['batch_size']}, {found['precision']}"),
        ("", "one step on shapes alone: rules and memory of MPS, not its numbers and not its speed"),
        ("operators", ", ".join(counts) or "not judged"),
        *format_block("faults", found["faults"] or ["none"]),
        *format_block("warnings", found["warnings"] or ["none"]),
        ("varies", ", ".join(found["varies"]) or "nothing: the same seed gives the same result"),
    ]
    if found["largest_batch"]:
        rows += [
            ("", ""),
            *format_block("memory", format_memory_table(found["memory"])),
            ("", ""),
            *format_block("fits", format_mac_table(found)),
        ]
    return "\n".join(f"{name:<10}{text}".rstrip() for name, text in rows)


def format_block(name: str, lines: list[str]) -> list[tuple[str, str]]:
    """Return lines with a name before the first."""
    return [(name if index == 0 else "", line) for index, line in enumerate(lines)]


def format_memory_table(memory: dict[str, dict[str, int]]) -> list[str]:
    """Return the lines of a table: GiB at the peak, by part."""
    rows = {part: [f"{parts[part] / GIB:.2f}" for parts in memory.values()] for part in (*MEMORY_CATEGORIES, "peak")}
    rows = {"GiB at the peak": list(memory), **rows}
    return [f"{name:<20}" + "".join(f"{cell:>12}" for cell in cells) for name, cells in rows.items()]


def format_mac_table(found: dict[str, Any]) -> list[str]:
    """Return the lines of a table: memory of a Mac, what a training gets of it, and the largest batch."""
    usable_gib = [size / GIB for size in found["usable"].values()]
    return [
        f"{'Mac of':<20}" + "".join(f"{size + ' GB':>8}" for size in found["usable"]),
        f"{'GiB for a training':<20}" + "".join(f"{size:>8.1f}" for size in usable_gib),
        f"{'largest batch':<20}" + "".join(f"{size:>8,}" for size in found["largest_batch"].values()),
    ]
