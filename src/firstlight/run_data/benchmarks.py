"""Load the speed-ups over the CPU from benchmark.json."""

import json
import math
from pathlib import Path
from typing import Any

from firstlight.run.containment import read_text_inside
from firstlight.run_data.run_info import to_text

PHASES = {"train": "training", "eval": "evaluation", "predict": "prediction"}


def load_speedup_bars(path: Path) -> dict[str, Any]:
    """Return the bars of a benchmark, or a remark if there are none.

    Returns:
        "directory", "started", "models": [name], "bars": {label: [speed-up or None for each model]},
        "caption": [line], "remark": a sentence or None.
    """
    benchmark: dict[str, Any] = {
        "directory": str(path.parent),
        "started": None,
        "models": [],
        "bars": {},
        "caption": [],
    }
    try:
        content = json.loads(read_text_inside(path))
        benchmark |= {
            "started": to_text(content["started"]),
            "caption": [str(line) for line in content["caption"]] + list_failures(content["failures"]),
            **make_speedup_bars(content["speedups"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return {**benchmark, "remark": "benchmark.json is corrupt or the benchmark was interrupted."}
    remark = None if benchmark["bars"] else "No accelerator was measured; no speed-up to show."
    return {**benchmark, "remark": remark}


def list_failures(failures: list[dict[str, Any]]) -> list[str]:
    """Return a line for each workload, or phase of it, that has failed."""
    return [f"Failed: {row['model']} on {row['device']} ({PHASES.get(row['phase'], 'all phases')}): {row['reason']}"
            for row in failures]  # fmt: skip


def make_speedup_bars(speedups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one bar for each model and phase, and for each device if there are several."""
    rows = [row for row in speedups if row["device"] != "cpu"]
    models = list(dict.fromkeys((str(row["model"]), row["batch_size"]) for row in rows))
    devices = list(dict.fromkeys(str(row["device"]) for row in rows))
    bars: dict[str, list[float | None]] = {}
    for row in rows:
        label = PHASES[row["phase"]] + (f" on {row['device']}" if len(devices) > 1 else "")
        values = bars.setdefault(label, [None] * len(models))
        speedup = float(row["speedup"])
        values[models.index((str(row["model"]), row["batch_size"]))] = speedup if math.isfinite(speedup) else None
    return {"models": [f"{name}, batch size {size}" for name, size in models], "bars": bars}
