"""The files of a run: written as a whole, and known again by their checksum."""

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def checkpoints(folder: Path) -> dict[str, str]:
    """Return the paths of the best and the last checkpoint of a run, where they were written."""
    paths = {name: folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
    return {name: str(path) for name, path in paths.items() if path.exists()}


CHECKSUM = "# sha256 of the above: "


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader meets all of it, or what was there before.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        # Line ends as they are: the page of runs names its scripts by their hash.
        beside.write_text(text, encoding="utf-8", errors="replace", newline="")
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def with_checksum(text: str) -> str:
    """Return a text of YAML with a comment behind it by which `is_as_written` knows it again."""
    return f"{text}{CHECKSUM}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_as_written(text: str) -> bool:
    """Say whether nothing was changed behind a run's back, and nothing is missing at the end."""
    return with_checksum(text.rpartition(CHECKSUM)[0]) == text


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of JSON tells: nothing if it is not there, or a crash left half of it."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, all references filled in."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return settings


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
