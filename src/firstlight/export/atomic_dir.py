"""The folder of an export: its files appear there whole, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.run.files import replace_atomically


def get_default_export_dir(checkpoint: Path) -> Path:
    """Return the folder export/ of the run that a checkpoint is of, or beside a checkpoint that lies alone."""
    own = checkpoint.parent
    return (own.parent if own.name == "checkpoints" else own) / "export"


@contextmanager
def atomic_output_dir(output: Path) -> Iterator[Path]:
    """Yield an empty folder whose content moves into another one when all has gone well.

    Raises:
        ValueError: there can be no such folder.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=output))
    except OSError as error:
        raise ValueError(
            f"The folder {output} cannot be written to ({error.strerror}): give output=<a folder of yours>"
        ) from error
    try:
        yield temporary
        for each in temporary.iterdir():
            move_into_place(each, output / each.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not any(output.iterdir()):
            output.rmdir()


def move_into_place(each: Path, place: Path) -> None:
    """Move a file or a folder to its final name, in the place of what an earlier export left there."""
    if place.is_dir():
        shutil.rmtree(place)  # a folder replaces an empty one only
    replace_atomically(each, place)


def format_size(path: Path) -> str:
    """Return the size of a file, or of all in a folder, as one reads it."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    count = sum(each.stat().st_size for each in files)
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
