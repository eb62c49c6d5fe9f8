"""Checkpoints that are whole: written atomically, checked when read."""

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from firstlight.checkpoint import sharded
from firstlight.run.files import write_atomically

# Raised when what a checkpoint holds is read otherwise than before.
FORMAT_VERSION = 1


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to write checkpoints, but a crash at any moment leaves the earlier file, or the new one.

    Lightning 2.6 writes to the system's temporary folder and moves the result: on another file system that is a copy,
    of which a crash leaves a part.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OSError: it cannot be written; what was there before still is.
        """
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, partial(torch.save, checkpoint))


def verify_checkpoint(path: Path) -> None:
    """Refuse a file that is not as it was written; torch does not compare the checksums that it writes.

    Raises:
        ValueError: it is missing, truncated, or a bit of it has changed.
    """
    if path.is_dir():
        sharded.verify_shards(path)
        return
    if not path.is_file():
        raise ValueError(f"There is no checkpoint {path}: give run=<folder> or ckpt=<file>")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises whatever a wrong number leads to
        raise ValueError(f"{path} is damaged or no checkpoint ({type(error).__name__}): give another file") from error
    if damaged:
        raise ValueError(f"{path} is damaged (the checksum of {damaged} differs): give another file")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; nothing in it can run code.

    Raises:
        ValueError: the file is missing, damaged, no checkpoint of this project, or one of a newer version.
    """
    verify_checkpoint(Path(path))
    try:
        saved: Any = read_checkpoint(Path(path))
    except Exception as error:  # torch raises many kinds for what it does not know
        raise ValueError(f"{path} is damaged or no checkpoint ({type(error).__name__}): give another file") from error
    if not isinstance(saved, dict) or "model_kwargs" not in saved:
        raise ValueError(f"{path} was not written by this project: give a checkpoint of one of its runs")
    if saved.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(
            f"{path} was written by a newer version of this project (format {saved['format_version']}, known is {FORMAT_VERSION}): "
            "update the project"
        )
    return saved


def read_checkpoint(path: Path) -> Any:
    """Return what a checkpoint holds, be it a file or a folder of parts."""
    return sharded.load_consolidated(path) if path.is_dir() else torch.load(path, map_location="cpu", weights_only=True)


def consolidate_shards(folder: Path) -> None:
    """Make one file of each checkpoint of a run that is in parts, so that any machine can use it alone."""
    for place in (folder / "checkpoints").glob("*.ckpt"):
        if place.is_dir():
            whole = place.with_name(f".{place.name}.whole")
            write_atomically(whole, partial(torch.save, sharded.load_consolidated(place)))
            sharded.replace_dir(whole, place)


def find_latest_valid_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """Return the newest checkpoint of a run that is whole, and a sentence for each newer one that is not.

    Raises:
        ValueError: there is none.
    """
    # The last one first, and never by the clock, which can be set back.
    names = ["last.ckpt", "best.ckpt"]
    others = sorted({path.name for path in (folder / "checkpoints").glob("*.ckpt")} - {*names})
    damaged: list[str] = []
    places = [folder / "checkpoints" / name for name in [*names, *others]]
    for path in [each for place in places for each in (place, sharded.make_backup_path(place))]:
        if path.exists():
            try:
                verify_checkpoint(path)
                return path, damaged
            except ValueError as error:
                damaged.append(str(error))
    reason = damaged[0] if damaged else "it has none yet"
    raise ValueError(f"{folder} has no checkpoint to go on from ({reason}): start again by `make train`")
