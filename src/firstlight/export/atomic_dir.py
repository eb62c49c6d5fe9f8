"""The output directory of an export: either all files of an export appear there, or none."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.run.errors import ConfigError
from firstlight.run.files import replace_atomically


def get_default_export_dir(checkpoint: Path) -> Path:
    """Return export/ in the run directory of a checkpoint, or next to a checkpoint that is not in a run directory."""
    parent = checkpoint.parent
    return (parent.parent if parent.name == "checkpoints" else parent) / "export"


@contextmanager
def atomic_output_dir(output_dir: Path) -> Iterator[Path]:
    """Yield an empty temporary directory whose contents move to `output_dir` if no exception is raised.

    Raises:
        ConfigError: If `output_dir` cannot be created or is not writable.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        temporary_dir = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=output_dir))
    except OSError as error:
        raise ConfigError(
            f"Cannot write to {output_dir}: {error.strerror}. Choose another directory with output=<directory>."
        ) from error
    try:
        yield temporary_dir
        for path in temporary_dir.iterdir():
            move_into_place(path, output_dir / path.name)
    finally:
        shutil.rmtree(temporary_dir, ignore_errors=True)
        if not any(output_dir.iterdir()):
            output_dir.rmdir()


def move_into_place(source: Path, target: Path) -> None:
    """Move a file or directory to its final path, replacing the result of an earlier export."""
    if target.is_dir():
        shutil.rmtree(target)  # os.replace() replaces only an empty directory
    replace_atomically(source, target)


def format_size(path: Path) -> str:
    """Return the size of a file or of all files in a directory, in KiB or MiB."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    num_bytes = sum(file.stat().st_size for file in files)
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.1f} KiB"
