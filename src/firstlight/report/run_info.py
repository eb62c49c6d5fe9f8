"""Read run.json and the log of a run; what is damaged or missing is said instead."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Of a run that did not finish.
LOG_LINES = 40
LOG_BYTES = 64_000
FAILURE_STATUSES = ("failed", "interrupted", "damaged")


def load_run_info(folder: Path, name: str) -> dict[str, Any]:
    """Return what the page tells of a run: names and values of JSON, whatever state its files are in.

    Args:
        folder: holds run.json.
        name: what the page calls it.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        damage = None if isinstance(record, dict) else "run.json holds no record of a run"
    except (OSError, ValueError) as error:
        record, damage = {}, describe_damage(folder / "run.json", error)
    record = record if isinstance(record, dict) else {}
    status = "damaged" if damage else str(record.get("status") or "unknown")
    git = to_dict(record, "git")
    return {
        "name": name,
        "folder": str(folder),
        "status": status,
        "reason": damage or get_failure_reason(record, status, folder),
        "overrides": parse_overrides(record.get("overrides")),
        "metrics": {str(key): to_json_number(value) for key, value in to_dict(record, "metrics").items()},
        "duration_s": to_json_number(record.get("duration_s")),
        "started": to_text(record.get("started")),
        "commit": (to_text(git.get("commit")) or "")[:8] + ("+dirty" if git.get("dirty") else ""),
        "seed": to_text(record.get("seed")),
        "about": make_summary_fields(record),
        "log": read_log_tail(folder / "output.log") if status in FAILURE_STATUSES else None,
    }


def describe_damage(file: Path, error: Exception) -> str:
    """Return what is wrong with run.json."""
    if isinstance(error, OSError):
        return f"run.json cannot be read: {error.strerror}"
    return "run.json is empty" if file.stat().st_size == 0 else "run.json is half-written or no JSON"


def get_failure_reason(record: dict[str, Any], status: str, folder: Path) -> str:
    """Return why a run did not finish, or since when nothing was heard of it."""
    if status == "running":
        times = [file.stat().st_mtime for file in folder.iterdir() if file.is_file()]
        last = datetime.fromtimestamp(max(times, default=0), UTC)
        return f"no end was written; its files last changed at {last:%Y-%m-%d %H:%M} UTC"
    return to_text(record.get("reason")) or ("no reason was written" if status in FAILURE_STATUSES else "")


def make_summary_fields(record: dict[str, Any]) -> dict[str, str]:
    """Return what is told of a run beside its figures, in words."""
    wandb = to_dict(to_dict(record, "loggers"), "wandb")
    versions = to_dict(record, "versions")
    parameters = to_dict(record, "parameters").get("total")
    told = {
        "command": to_text(record.get("command")),
        "device": ", ".join(filter(None, (to_text(record.get(key)) for key in ("device", "precision")))),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else None,
        "versions": ", ".join(f"{key} {versions[key]}" for key in ("torch", "lightning") if key in versions),
        "W&B": to_text(wandb.get("url")) or to_text(wandb.get("folder")),
    }
    return {key: value for key, value in told.items() if value}


def parse_overrides(words: Any) -> dict[str, str]:
    """Return the settings that were typed."""
    found = {}
    for word in words if isinstance(words, list) else []:
        name, sign, value = str(word).lstrip("+").partition("=")
        found[name] = value if sign else "removed" if name.startswith("~") else ""
    return found


def read_log_tail(file: Path) -> list[str] | None:
    """Return the end of a log as a terminal would have left it; None where there is no log."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - LOG_BYTES))
            end = log.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    end = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", end)
    # A progress bar writes over its own line.
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip()[:500] for line in end.split("\n")]
    return "\n".join(lines).strip("\n").split("\n")[-LOG_LINES:]


def to_dict(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a part of a record that has names; an empty one where it has not."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def to_text(value: Any) -> str | None:
    """Return a value as text; None stays None."""
    return None if value is None else str(value)


def to_json_number(value: Any) -> float | str | None:
    """Return a number that JSON can hold: what is infinite or none at all becomes text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return to_text(value)
    return value if math.isfinite(value) else str(value)
