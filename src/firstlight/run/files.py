"""The files of a run: written as a whole, and known again by their checksum."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKSUM_PREFIX = "# sha256 of the above: "


def list_checkpoints(folder: Path) -> dict[str, str]:
    """Return the paths of the best and the last checkpoint of a run, where they were written."""
    paths = {name: folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
    return {name: str(path) for name, path in paths.items() if path.exists()}


def write_atomically(path: Path, content: str | Callable[[BinaryIO], Any]) -> None:
    """Write a file: a reader, also one after a crash, finds all of the new content or what was there before.

    Args:
        path: the file, whose directory exists.
        content: the text, or a function that writes to an open file.

    Raises:
        OSError: If it cannot be written. What was there before still is.
    """
    # Only a regular file can be replaced; /dev/stdout and pipes are written to.
    replaces = path.is_file() or not path.exists()
    target = path.with_name(f".{path.name}.tmp") if replaces else path
    try:
        with target.open("wb") as file:
            if isinstance(content, str):
                # Line ends stay as they are: the report page names its scripts by their hash.
                file.write(content.encode("utf-8", "replace"))
            else:
                content(file)
        if replaces:
            replace_atomically(target, path)
    except BaseException:
        if replaces:
            target.unlink(missing_ok=True)
        raise


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure of matplotlib as a PNG file."""
    write_atomically(path, partial(figure.savefig, format="png", dpi=150))


def replace_atomically(temporary: Path, path: Path) -> None:
    """Rename a complete file or directory to its final name, once its content is on the disk."""
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    """Wait until a file, or the list of names in a directory, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_checksum(text: str) -> str:
    """Return a text of YAML with a comment behind it by which `is_as_written` knows it again."""
    return f"{text}{CHECKSUM_PREFIX}{hashlib.sha256(text.encode()).hexdigest()}\n"


def has_valid_checksum(text: str) -> bool:
    """Say whether nothing was changed behind a run's back, and nothing is missing at the end."""
    return append_checksum(text.rpartition(CHECKSUM_PREFIX)[0]) == text


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Return what a file of JSON tells: nothing if it is not there, or a crash left half of it."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def to_plain_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, all references filled in."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return settings


def utc_now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
