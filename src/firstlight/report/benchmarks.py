"""Read benchmark.json: how many times faster than the CPU each model trains and evaluates."""

import json
from pathlib import Path
from typing import Any

PHASES = {"train": "training", "eval": "evaluation"}


def load_benchmark(file: Path) -> dict[str, Any]:
    """Return the bars of a benchmark, or a remark why there are none.

    Returns:
        "folder", "started", "models": [name], "bars": {label: [times or None for each model]}, "caption": [line],
        "remark": a sentence or None.
    """
    shown: dict[str, Any] = {"folder": str(file.parent), "started": None, "models": [], "bars": {}, "caption": []}
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        shown |= {
            "started": result["started"],
            "caption": [str(line) for line in result["caption"]],
            **make_speedup_bars(result["speedups"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {**shown, "remark": "benchmark.json is damaged, or its measurement was broken off."}
    remark = None if shown["bars"] else "Only the CPU was measured: there is nothing to compare it with."
    return {**shown, "remark": remark}


def make_speedup_bars(speedups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a bar for each model and phase, and for each device where there are several."""
    others = [each for each in speedups if each["device"] != "cpu"]
    models = list(dict.fromkeys((str(each["model"]), each["batch_size"]) for each in others))
    devices = list(dict.fromkeys(str(each["device"]) for each in others))
    found: dict[str, list[float | None]] = {}
    for each in others:
        label = PHASES[each["phase"]] + (f" on {each['device']}" if len(devices) > 1 else "")
        times = found.setdefault(label, [None] * len(models))
        times[models.index((str(each["model"]), each["batch_size"]))] = float(each["speedup"])
    return {"models": [f"{name}, batch size {size}" for name, size in models], "bars": found}
