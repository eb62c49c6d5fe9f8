"""Files of a run: atomic writes and checksums."""

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

from firstlight.run.containment import is_inside, read_text_inside
from firstlight.run.errors import iter_error_chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In the run directory: which checkpoint is the best one.
BEST_CHECKPOINT_FILE = "best.json"
# In the sweep directory: the overrides and jobs of `make sweep`.
SWEEP_FILE = "sweep.json"
# In a checkpoint: what the engine adds. One key, because a module may add keys of any other name.
ENGINE_KEY = "firstlight"
CHECKSUM_PREFIX = "# sha256 of the above: "


def list_checkpoints(run_dir: Path) -> dict[str, str]:
    """Return the paths of the best and the last checkpoint of a run, if they exist, by name.

    The run records which checkpoint is the best one. If there is no such record, it is best.ckpt.
    """
    recorded: Any = read_json_or_empty(run_dir / BEST_CHECKPOINT_FILE).get("path")
    # A record that leads out of the run directory is not followed: the run may come from someone else.
    is_followed = isinstance(recorded, str) and is_inside(run_dir / recorded, run_dir)
    best = recorded if is_followed else "checkpoints/best.ckpt"
    paths = {"best": run_dir / best, "last": run_dir / "checkpoints" / "last.ckpt"}
    return {name: str(path) for name, path in paths.items() if is_inside(path, run_dir) and os.path.exists(path)}


def get_best_or_last_checkpoint(run_dir: Path) -> str | None:
    """Return the best checkpoint of a run, or else its last one, or None."""
    checkpoints = list_checkpoints(run_dir)
    return checkpoints.get("best") or checkpoints.get("last")


def write_atomically(path: Path, content: str | Callable[[BinaryIO], Any]) -> None:
    """Write a file so that readers, and a crash, find either the complete new content or the previous content.

    Args:
        path: File to write; its directory is created.
        content: Text, or a function that writes to an open binary file.

    Raises:
        OSError: If the file cannot be written. The previous content is kept.
    """
    # Only a regular file can be replaced. /dev/stdout and pipes are written directly.
    replaces = path.is_file() or not path.exists()
    target = path.with_name(f".{path.name}.tmp") if replaces else path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if replaces:
            # A link with this name would be followed.
            target.unlink(missing_ok=True)
        with target.open("wb") as file:
            if isinstance(content, str):
                # In bytes, so that line endings stay unchanged: the report page identifies its scripts by their hash.
                file.write(content.encode("utf-8", "replace"))
            else:
                content(file)
        if replaces:
            replace_atomically(target, path)
    except BaseException as error:
        if replaces:
            with suppress(OSError):  # must not hide the error that a file system reports first
                target.unlink(missing_ok=True)
        for link in iter_error_chain(error):
            if isinstance(link, OSError) and link.errno and not link.filename:
                link.filename = str(path)  # a failed write does not know its file
        raise


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a matplotlib figure as a PNG file."""
    write_atomically(path, partial(figure.savefig, format="png", dpi=150))


def replace_atomically(temporary: Path, path: Path) -> None:
    """Flush a complete file or directory to disk and rename it to its final name."""
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_checksum(text: str) -> str:
    """Append a YAML comment with the SHA-256 of a text; `has_valid_checksum` verifies it."""
    return f"{text}{CHECKSUM_PREFIX}{hashlib.sha256(text.encode()).hexdigest()}\n"


def has_valid_checksum(text: str) -> bool:
    """Return True if a text is complete and was not modified since `append_checksum`."""
    return append_checksum(text.rpartition(CHECKSUM_PREFIX)[0]) == text


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Return the contents of a JSON file; an empty dict if the file is missing or invalid."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(read_text_inside(path)))
    return {}


def to_plain_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return a config as plain values with all interpolations resolved."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return settings


def utc_now() -> str:
    """Return the current time in UTC, in ISO 8601 format with second resolution."""
    return datetime.now(UTC).isoformat(timespec="seconds")
