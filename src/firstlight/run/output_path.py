"""Checks of the path that a command writes, before anything is computed."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from firstlight.run.errors import ConfigError, invalid_value

# Files and directories of a run that training would overwrite.
RUN_FILES = ("config.yaml", "metrics.csv", "output.log", "checkpoints", "best.json", "predictions", "predictions.json")


def validate_output_file(
    output: Any,
    suffixes: Sequence[str],
    inputs: Iterable[Path] = (),
    is_own: Callable[[Path], bool] = lambda path: False,
    name: str = "results",
) -> Path:
    """Return the path of `output=`, with links resolved, if the command may write a file there.

    A device or a pipe, such as /dev/stdout, is valid with any suffix.

    Args:
        output: Value of `output=`.
        suffixes: Suffixes of the formats that the command writes; the first one is used in messages.
        inputs: Files that the command reads.
        is_own: Returns True if an existing file was written by this command, so that it may be replaced.
        name: File name without suffix, for messages.

    Raises:
        ConfigError: If the path is not a file path, its suffix is unknown, the file is an input or belongs to another
            program, or the directory is not writable.
    """
    path = validate_file_name(output, suffixes, name)
    if is_stream(path):
        return path
    if path.is_symlink():
        path = path.resolve()  # the file is replaced, not the link
    for source in inputs:
        if is_same_file(path, source):
            raise ConfigError(f"output={output} would overwrite the input {source}. Choose another file.")
    if path.exists() and path.stat().st_size and not is_own(path):
        raise ConfigError(
            f"{output} already exists, and this command did not write it. Choose another file, or delete this one."
        )
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"Cannot write {output}: permission denied. Choose another file.")
    validate_writable(path.parent, "Choose another location with output=<file>.")
    return path


def validate_file_name(output: Any, suffixes: Sequence[str], name: str) -> Path:
    """Return the path of `output=`, if it is the path of a file in one of the formats, or of a device or a pipe.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(output, str) or not output.strip():
        fix = f"Use e.g. output={name}{suffixes[0]}."
        raise ConfigError(invalid_value("output", output, "a file path", fix))
    path = Path(output).expanduser()
    if path.is_dir() or output.endswith("/"):
        fix = f"Use e.g. output={path / name}{suffixes[0]}."
        raise ConfigError(f"{output} is a directory, but output= expects a file. {fix}")
    if path.suffix.lower() not in suffixes and not is_stream(path):
        fix = f"Use e.g. output={path.stem or name}{suffixes[0]}."
        raise ConfigError(invalid_value("output", output, f"a file name ending in {join_names(suffixes)}", fix))
    return path


def is_stream(path: Path) -> bool:
    """Return True if a path is a device or a pipe, such as /dev/stdout, even if stdout is redirected to a file."""
    return str(path).startswith("/dev/") or (path.exists() and not path.is_file() and not path.is_dir())


def is_same_file(path: Path, other: Path) -> bool:
    """Return True if two paths name the same file, also through symbolic and hard links."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them does not exist
        return path.resolve() == other.resolve()


def validate_new_dir(output_dir: str, key: str) -> Path:
    """Return the path of a directory that does not exist yet or is empty, if it can be written.

    Args:
        output_dir: The directory.
        key: Config key of the directory.

    Raises:
        ConfigError: If the path is a file or a directory with contents, or is not writable.
    """
    path = Path(output_dir).expanduser()
    fix = f"Choose another location with {key}=<directory>."
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigError(f"{output_dir} is not a directory. {fix}")
    validate_writable(path, fix)
    if path.is_dir() and any(not is_leftover(entry.name) for entry in path.iterdir()):
        raise ConfigError(
            f"{output_dir} is not empty, and its files could be overwritten. Choose a new directory with "
            f"{key}=<directory>."
        )
    return path


def is_leftover(name: str) -> bool:
    """Return True if a file or directory is temporary, and was left by a command that was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def validate_run_dir(run_dir: Path) -> None:
    """Check that a new run would not write to a directory with files of another program.

    Raises:
        ConfigError: If the path is a file, or contains files with the names of files of a run, but no run.
    """
    fix = "Choose another location with output_dir=<directory>."
    if os.path.lexists(run_dir) and not run_dir.is_dir():
        raise ConfigError(f"{run_dir} is not a directory. {fix}")
    if not any((run_dir / name).exists() for name in ("run.json", "run.previous.json")):
        taken = [name for name in RUN_FILES if os.path.lexists(run_dir / name)]
        if taken:
            raise ConfigError(f"{run_dir} contains {join_names(taken, 'and')}, but no run. {fix}")


def validate_writable(directory: Path, fix: str) -> None:
    """Check that files can be written to a directory, which may not exist yet. Nothing is created.

    Args:
        directory: The directory.
        fix: An imperative sentence with a period, which tells how to choose another location.

    Raises:
        ConfigError: If it cannot be written.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    try:
        # A file, because permission bits do not show a read-only disk.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(f"Cannot write to {directory}: {error.strerror}. {fix}") from error


def claim_new_dir(wanted: Path) -> Path:
    """Create a directory that did not exist, with a counter if another process has just created it.

    Raises:
        OSError: If it cannot be created.
    """
    directory = wanted
    for number in range(2, 1000):
        try:
            directory.mkdir(parents=True)
            break
        except FileExistsError:
            directory = wanted.with_name(f"{wanted.name}_{number}")
    return directory


def read_first_line(path: Path, max_bytes: int = 64 * 1024) -> str:
    """Return the first line of a file, or "" if it cannot be read as UTF-8."""
    try:
        with path.open("rb") as file:
            return file.readline(max_bytes).decode("utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        return ""


def join_names(names: Sequence[str], conjunction: str = "or") -> str:
    """Return names separated by commas, with a conjunction before the last one."""
    return f" {conjunction} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
