"""Open the files of a run directory, which may come from a stranger: no link leads out of it, no file blocks."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from firstlight.run.errors import CheckpointError

# A larger run.json, config.yaml or JSON file of results is not read.
MAX_TEXT_BYTES = 256 * 2**20
# W&B 0.31 links the log of its service process, in its cache, into each segment. Nothing reads or writes the link.
WANDB_LOG = "wandb/*run-*/logs/debug-core.log"


def is_inside(path: Path, directory: Path) -> bool:
    """Return True if a path, with all links followed, lies in a directory."""
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a path with a null character
        return False


def open_inside(path: Path, directory: Path | None = None) -> BinaryIO:
    """Open a regular file of a directory for reading; it never blocks.

    Args:
        path: The file.
        directory: The directory that links must not leave. If None, the directory of the file.

    Raises:
        OSError: If the file does not exist, leads out of the directory, or is not a regular file.
    """
    if not is_inside(path, directory or path.parent):
        raise OSError(errno.ELOOP, "leads out of its directory", str(path))
    # A pipe without a writer would block.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_text_inside(path: Path, directory: Path | None = None, errors: str = "strict") -> str:
    """Return the text of a regular file; see `open_inside`.

    Raises:
        OSError: If the file does not exist, leads out of the directory, is not a regular file, or is too large.
    """
    with open_inside(path, directory) as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise OSError(errno.EFBIG, "is too large", str(path))
    return content.decode("utf-8", errors)


def validate_run_files(run_dir: Path) -> None:
    """Check that a run directory contains only directories, regular files, and links to other files of it.

    A command that reads or continues the run calls this first: afterwards, each path in the directory is safe.

    Raises:
        CheckpointError: If there is another file.
    """
    for path in iter_unsafe_files(run_dir):
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a link that leads out of the run directory to {os.readlink(path)}. Replace the link with "
                "a copy of its target, or delete it."
            )
        raise CheckpointError(f"{path} is neither a file nor a directory. Delete it.")


def iter_unsafe_files(run_dir: Path) -> Iterator[Path]:
    """Yield the links that lead out of a directory, and the pipes, sockets and devices in it."""
    pending = [run_dir]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.is_symlink():
                    if not is_inside(path, run_dir) and not path.match(WANDB_LOG):
                        yield path
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif not entry.is_file(follow_symlinks=False):
                    yield path


def find_run_dir(source: Path) -> Path:
    """Return the run directory of a run or a checkpoint; for a checkpoint outside of a run, its own directory."""
    if source.suffix != ".ckpt":
        return source
    run_dir = source.parent.parent
    is_in_run = source.parent.name == "checkpoints" or (run_dir / "config.yaml").is_file()
    return run_dir if is_in_run and len(source.parts) > 1 else source.parent
