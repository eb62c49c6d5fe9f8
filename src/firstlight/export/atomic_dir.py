"""The output directory of an export: either all files of an export appear there, or none."""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.run.errors import ConfigError
from firstlight.run.files import read_json_or_empty, replace_atomically
from firstlight.run.output_path import validate_new_dir, validate_writable
from firstlight.run.text import format_bytes

# Metadata file of each format.
METADATA_FILES = ("model.pt2.json", "model.onnx.json", "config.json", "model.mlpackage.json")
# An export is a directory. Its name does not end in the suffix of a file format.
FILE_SUFFIXES = (
    ".pt2",
    ".pt",
    ".pth",
    ".ckpt",
    ".bin",
    ".onnx",
    ".safetensors",
    ".mlpackage",
    ".mlmodel",
    ".json",
    ".zip",
)


def get_default_export_dir(checkpoint: Path, name: str = "export") -> Path:
    """Return export/ in the run directory of a checkpoint, or next to a checkpoint that is not in a run directory.

    Args:
        checkpoint: The checkpoint.
        name: Name of the directory.
    """
    parent = checkpoint.parent
    return (parent.parent if parent.name == "checkpoints" else parent) / name


def validate_export_dir(output_dir: Path, metadata_file: str) -> None:
    """Check that an export can be written to a directory: a new one, an empty one, or one with earlier exports.

    Args:
        output_dir: The directory.
        metadata_file: Name of the metadata file of the export.

    Raises:
        ConfigError: If the path names a file, contains files of another program, or cannot be written.
    """
    if output_dir.suffix.lower() in FILE_SUFFIXES and not output_dir.is_dir():
        raise ConfigError(
            f"output= expects a directory, got {output_dir}. The names of the files in it are fixed. Use "
            f"output={output_dir.with_suffix('')}."
        )
    own = [name for name in METADATA_FILES if is_export_metadata(output_dir / name)]
    if not own:
        validate_new_dir(str(output_dir), "output")
    elif metadata_file not in own and (output_dir / metadata_file).exists():
        raise ConfigError(
            f"{output_dir / metadata_file} already exists, and this command did not write it. Choose another directory "
            "with output=<directory>."
        )
    validate_writable(output_dir, "Choose another directory with output=<directory>.")


def validate_hub_dir(output_dir: Path) -> None:
    """Check that a directory, which is uploaded as a whole, has no export of another format.

    Raises:
        ConfigError: If it has one.
    """
    for name in METADATA_FILES:
        if name != "config.json" and is_export_metadata(output_dir / name):
            raise ConfigError(
                f"{output_dir} contains {name} of another format, which `hf upload` would upload, too. Choose another "
                "directory with output=<directory>."
            )


def delete_stale_files(output_dir: Path, names: Iterable[str], written: Collection[str]) -> None:
    """Delete the files of an earlier export that this export has not written again.

    Args:
        output_dir: Directory of the export.
        names: File names that an export may write.
        written: File names that this export has written.
    """
    for name in names:
        if name not in written:
            (output_dir / name).unlink(missing_ok=True)


def is_export_metadata(path: Path) -> bool:
    """Return True if a file is the metadata file of an export."""
    content = read_json_or_empty(path)
    nested = content.get("export", content)
    return isinstance(nested, dict) and {"format", "load", "preprocessing", "checkpoint"} <= set(nested)


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
    apply_umask(source)
    replace_atomically(source, target)


def apply_umask(path: Path) -> None:
    """Set the permissions of a file or directory as the umask says: some libraries create files for the owner only."""
    umask = os.umask(0)
    os.umask(umask)
    for entry in [path, *path.rglob("*")]:
        if not entry.is_symlink():
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~umask)


def format_size(path: Path) -> str:
    """Return the size of a file or of all files in a directory, e.g. "1.5 KiB"."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return format_bytes(sum(file.stat().st_size for file in files))
