"""What a run was made of, and how two runs differ: overrides, config, source code, packages and machine."""

import json
from pathlib import Path
from typing import Any

from firstlight.config.run_config import load_plain_yaml
from firstlight.run.containment import open_inside
from firstlight.run.files import read_json_or_empty
from firstlight.run.installed_packages import parse_packages
from firstlight.run.provenance import PROVENANCE_DIR, get_provenance
from firstlight.run_data.comparison import NAME_KEYS
from firstlight.run_data.run_info import get_dict, parse_overrides, to_text

# Larger files of a run are not compared. A config has 4 kB and a list of packages 6 kB; a diff is bounded when written.
MAX_FILE_BYTES = 2 * 2**20
MAX_VALUE_CHARACTERS = 500
MACHINE_KEYS = ("system", "python", "cores")
DEVICE_KEYS = ("device", "devices", "precision")

Parts = dict[str, dict[str, str]]


def load_run_parts(run_dir: Path) -> Parts:
    """Return what determined the results of a run: sections of texts by key. What cannot be read is left out."""
    record = read_json_or_empty(run_dir / "run.json")
    git, machine = get_dict(get_last_attempt(record), "git") or get_dict(record, "git"), get_dict(record, "machine")
    source = {
        "commit": git.get("commit"),
        "uncommitted changes": git.get("diff") or ("yes" if git.get("dirty") else None),
    }
    hardware = {key: machine.get(key) for key in MACHINE_KEYS} | {key: record.get(key) for key in DEVICE_KEYS}
    packages = read_provenance_text(run_dir, record, "packages")
    return {
        "overrides": drop_missing({**parse_overrides(record.get("overrides"))}),
        "config": load_flat_config(run_dir),
        "source code": drop_missing(source),
        "packages": drop_missing(parse_packages(packages or "") or get_dict(record, "versions")),
        "machine": drop_missing(hardware),
    }


def get_last_attempt(record: dict[str, Any]) -> dict[str, Any]:
    """Return the last attempt in run.json, or an empty dictionary."""
    attempts = record.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else None
    return last if isinstance(last, dict) else {}


def drop_missing(values: dict[str, Any]) -> dict[str, str]:
    """Return the values as texts of bounded length, without None and without the names of runs."""
    texts = {str(key): to_text(value) for key, value in values.items() if key not in NAME_KEYS}
    return {key: text[:MAX_VALUE_CHARACTERS] for key, text in texts.items() if text is not None}


def read_provenance_text(run_dir: Path, record: dict[str, Any], kind: str) -> str | None:
    """Return the list of packages, or the uncommitted changes, of the last attempt of a run.

    Args:
        run_dir: The run directory.
        record: Contents of run.json.
        kind: "packages" or "diff".
    """
    path = find_provenance_file(run_dir, record, kind)
    return None if path is None else read_bounded_text(path, run_dir / PROVENANCE_DIR)


def find_provenance_file(run_dir: Path, record: dict[str, Any], kind: str) -> Path | None:
    """Return the path that run.json names for the last attempt, or None. `read_bounded_text` checks the path."""
    name = get_provenance(get_last_attempt(record)).get(kind)
    return run_dir / name if isinstance(name, str) else None


def read_bounded_text(path: Path, directory: Path) -> str | None:
    """Return the text of a file; None if it is missing, too large, or leads out of its directory."""
    try:
        with open_inside(path, directory) as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError):
        return None
    return content.decode("utf-8", "replace") if len(content) <= MAX_FILE_BYTES else None


def load_flat_config(run_dir: Path) -> dict[str, str]:
    """Return the values of config.yaml by dotted key, with paths relative to the run directory; empty if corrupt."""
    text = read_bounded_text(run_dir / "config.yaml", run_dir) or ""
    try:
        config = load_plain_yaml(text)
        return flatten_config(config) if isinstance(config, dict) else {}
    except Exception:  # PyYAML raises many kinds
        return {}


def flatten_config(config: dict[Any, Any]) -> dict[str, str]:
    """Return the values of a config by dotted key."""
    output_dir = str(config.get("output_dir"))
    values: dict[str, str] = {}
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        prefix, value = pending.pop()
        if isinstance(value, dict) and value:
            pending += [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in value.items()]
        elif prefix not in (*NAME_KEYS, "resume"):
            values[prefix[:MAX_VALUE_CHARACTERS]] = format_config_value(value, output_dir)
    return values


def format_config_value(value: Any, output_dir: str) -> str:
    """Return a value of a config as a text; a path in the run directory starts with ${output_dir}."""
    if not isinstance(value, str):
        text = json.dumps(value, default=str)
    elif value == output_dir or value.startswith(f"{output_dir}/"):
        text = f"${{output_dir}}{value[len(output_dir) :]}"
    else:
        text = value
    return text[:MAX_VALUE_CHARACTERS]


def find_differences(first: Parts, second: Parts) -> dict[str, dict[str, list[str | None]]]:
    """Return the values that differ between two runs, by section and key; None is a missing value."""
    differences = {}
    for section in first:
        keys = sorted({*first[section], *second[section]})
        pairs = {key: [first[section].get(key), second[section].get(key)] for key in keys}
        differences[section] = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    return differences
