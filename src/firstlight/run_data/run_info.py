"""Load run.json and the log of a run; missing and corrupt files are described instead of raising."""

import json
import math
import os
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from firstlight.run.containment import open_inside, read_text_inside
from firstlight.run.provenance import describe_source_changes

# End of the log of a run that failed or was interrupted.
MAX_LOG_LINES = 40
MAX_LOG_BYTES = 64_000
# Larger integers are not exact in JavaScript.
MAX_INTEGER = 2**53
FAILURE_STATUSES = ("failed", "interrupted", "corrupt")


def load_run_info(run_dir: Path, name: str) -> dict[str, Any]:
    """Return what the page shows about a run, as JSON-compatible values.

    Args:
        run_dir: Run directory, with a run.json.
        name: Name of the run on the page.
    """
    try:
        record = json.loads(read_text_inside(run_dir / "run.json"))
        problem = None if isinstance(record, dict) else "run.json is not a run record"
    except (OSError, ValueError, RecursionError) as error:
        record, problem = {}, describe_read_error(run_dir / "run.json", error)
    record = record if isinstance(record, dict) else {}
    status = "corrupt" if problem else str(record.get("status") or "unknown")
    git = get_dict(record, "git")
    return {
        "name": name,
        "run_dir": str(run_dir),
        "status": status,
        "reason": problem or get_status_reason(record, status, run_dir),
        "overrides": parse_overrides(record.get("overrides")),
        "metrics": {str(key): to_json_number(value) for key, value in get_dict(record, "metrics").items()},
        "duration_s": to_json_number(record.get("duration_s")),
        "started": to_text(record.get("started")),
        "commit": (to_text(git.get("commit")) or "")[:8] + ("+dirty" if git.get("dirty") else ""),
        "seed": to_text(record.get("seed")),
        "summary": make_summary_fields(record),
        "log": read_log_tail(run_dir / "output.log") if status in FAILURE_STATUSES else None,
    }


def describe_read_error(path: Path, error: Exception) -> str:
    """Return why run.json cannot be loaded."""
    if isinstance(error, OSError):
        return f"run.json cannot be read: {error.strerror}"
    return "run.json is empty" if path.stat().st_size == 0 else "run.json is incomplete or not valid JSON"


def get_status_reason(record: dict[str, Any], status: str, run_dir: Path) -> str:
    """Return why a run did not finish, or when the files of a running one last changed."""
    if status == "running":
        times = [path.stat().st_mtime for path in run_dir.iterdir() if path.is_file()]
        last_change = datetime.fromtimestamp(max(times, default=0), UTC)
        return f"no end recorded; last file change at {last_change:%Y-%m-%d %H:%M} UTC"
    return to_text(record.get("reason")) or ("no reason recorded" if status in FAILURE_STATUSES else "")


def make_summary_fields(record: dict[str, Any]) -> dict[str, str]:
    """Return command, device, parameters, versions, what changed between attempts, and the loggers, if recorded."""
    versions = get_dict(record, "versions")
    num_parameters = get_dict(record, "parameters").get("total")
    fields = {
        "command": to_text(record.get("command")),
        "device": ", ".join(filter(None, (to_text(record.get(key)) for key in ("device", "precision")))),
        "parameters": f"{num_parameters:,}" if isinstance(num_parameters, int) else None,
        "versions": ", ".join(f"{key} {versions[key]}" for key in ("torch", "lightning") if key in versions),
        "changed": "; ".join(list_source_changes(record)),
    } | locate_loggers(get_dict(record, "loggers"))
    return {key: value for key, value in fields.items() if value}


def locate_loggers(loggers: dict[str, Any]) -> dict[str, str | None]:
    """Return where each logger of a run has stored it, by name: the page on a server, a directory or a file."""
    names = {"wandb": "W&B", "tensorboard": "TensorBoard", "mlflow": "MLflow"}
    keys = ("url", "segment_dir", "path", "tracking_uri")
    return {
        names.get(name, name): next((to_text(info[key]) for key in keys if info.get(key)), None)
        for name, info in loggers.items()
        if isinstance(info, dict)
    }


def list_source_changes(record: dict[str, Any]) -> list[str]:
    """Return how code and packages changed between the attempts of a run."""
    attempts = record.get("attempts")
    found = [attempt for attempt in attempts if isinstance(attempt, dict)] if isinstance(attempts, list) else []
    return [change for pair in pairwise(found) for change in describe_source_changes(*pair)]


def parse_overrides(overrides: Any) -> dict[str, str]:
    """Return the command-line overrides of a run by key."""
    parsed = {}
    for override in overrides if isinstance(overrides, list) else []:
        key, sign, value = str(override).lstrip("+").partition("=")
        parsed[key] = value if sign else "(deleted)" if key.startswith("~") else ""
    return parsed


def read_log_tail(path: Path) -> list[str] | None:
    """Return the last lines of a log as a terminal shows them, or None if there is no log."""
    try:
        with open_inside(path) as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - MAX_LOG_BYTES))
            tail = log.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    tail = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", tail)
    # A progress bar overwrites its own line.
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip()[:500] for line in tail.split("\n")]
    return "\n".join(lines).strip("\n").split("\n")[-MAX_LOG_LINES:]


def get_dict(record: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the dictionary stored under a key, or an empty one if there is none."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def to_text(value: Any) -> str | None:
    """Return a value as a string; None stays None."""
    return None if value is None else str(value)


def to_json_number(value: Any) -> float | str | None:
    """Return a number that JSON can represent; any other value, such as infinity, becomes a string."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return to_text(value)
    # An integer may be too large for a float, and for its conversion to text.
    if isinstance(value, int):
        return value if abs(value) < MAX_INTEGER else "too large"
    return value if math.isfinite(value) else str(value)
