"""Sharded checkpoints: directories to which each rank writes its own shard, and their conversion to single files."""

import json
import os
import pickle
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from firstlight.run.errors import CheckpointError, corrupt_file, describe_error
from firstlight.run.evaluation import CHECKSUMS_FILE
from firstlight.run.files import replace_atomically, write_atomically

# torch's index of the shards, and Lightning's file with everything that is not sharded.
INDEX, UNSHARDED = ".metadata", "meta.pt"
# torch 2.15's variable that overrides each weights_only=False: torch.distributed.checkpoint passes it for all entries
# that are not tensors.
FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
# Last sentence of messages about a corrupt checkpoint.
USE_ANOTHER_CHECKPOINT = "Use another checkpoint."
# torch's index of the shards (.metadata) is a pickle, which could run any code. Only these globals are allowed in it.
SAFE_GLOBALS = {
    "builtins": {"list", "tuple", "dict", "set", "int", "float", "str", "bool", "NoneType"},
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath", "PurePosixPath", "Path"},
    "torch": {"Size", "device", "float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        *("Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
        *("TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING"),
    },
    "torch.serialization": {"_get_layout"},
}


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that allows only the classes needed for the index of a sharded checkpoint."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class if it is one of `SAFE_GLOBALS`.

        Raises:
            UnpicklingError: If the index names any other global.
        """
        if name not in SAFE_GLOBALS.get(module, ()):
            raise pickle.UnpicklingError(f"unexpected global '{module}.{name}' in the shard index")
        return super().find_class(module, name)


def write_checksums(directory: Path) -> None:
    """Write the checksums of all shards, once all ranks have written their shards."""
    checksums = {path.name: fsync_and_compute_crc32(path) for path in list_shard_files(directory)}
    write_atomically(directory / CHECKSUMS_FILE, json.dumps(checksums))


def replace_dir(temporary: Path, path: Path) -> None:
    """Rename a checkpoint to its final name; at each moment, either the previous or the new checkpoint exists.

    Args:
        temporary: The new checkpoint.
        path: Its final name.
    """
    backup = make_backup_path(path)
    remove_path(backup)
    if path.exists():
        os.replace(path, backup)
    replace_atomically(temporary, path)
    remove_path(backup)


def make_backup_path(path: Path) -> Path:
    """Return the name of a checkpoint while another one replaces it."""
    return path.with_name(f".{path.name}.before")


def remove_path(path: Path) -> None:
    """Delete a file, or a directory with all its contents, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def verify_sharded_checkpoint(directory: Path) -> None:
    """Verify the checksums of a sharded checkpoint, and that its index cannot run code.

    Raises:
        CheckpointError: If a shard is missing or modified, or the index contains unexpected globals.
    """
    try:
        validate_index(directory)
        checksums = dict(json.loads((directory / CHECKSUMS_FILE).read_text()))
        if {path.name for path in list_shard_files(directory)} != set(checksums):
            raise ValueError("a shard is missing or unknown")
        damaged = [name for name in checksums if fsync_and_compute_crc32(directory / name) != checksums[name]]
    except Exception as error:  # pickle raises various types for invalid bytes
        raise CheckpointError(
            f"{directory} is corrupt or not a checkpoint ({describe_error(error)}). {USE_ANOTHER_CHECKPOINT}"
        ) from error
    if damaged:
        raise CheckpointError(
            corrupt_file(str(directory), f"checksum mismatch in {', '.join(damaged)}", USE_ANOTHER_CHECKPOINT)
        )


def validate_index(directory: Path) -> None:
    """Check that the index of a sharded checkpoint cannot run code and names only files of its directory.

    Raises:
        UnpicklingError: If the index contains unexpected globals.
        ValueError: If it names other files, or the directory contains links, special files or another index.
    """
    for path in directory.iterdir():
        is_known = path.name in (INDEX, UNSHARDED, CHECKSUMS_FILE) or path.suffix == ".distcp"
        if path.is_symlink() or not path.is_file() or not is_known:
            raise ValueError(f"unexpected file {path.name}")
    with (directory / INDEX).open("rb") as file:
        index = RestrictedUnpickler(file).load()
    for entry in index.storage_data.values():
        if entry.relative_path != Path(entry.relative_path).name or not (directory / entry.relative_path).is_file():
            raise ValueError(f"the index names the file {entry.relative_path}")


@contextmanager
def load_shards_safely(directory: Path) -> Iterator[None]:
    """Let torch.distributed.checkpoint read a checkpoint of which neither the index nor a shard can run code.

    Raises:
        CheckpointError: If the index or a shard is corrupt or could run code.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    def describe(error: BaseException) -> str:
        return f"{directory} is corrupt or not a checkpoint ({describe_error(error)}). {USE_ANOTHER_CHECKPOINT}"

    try:
        validate_index(directory)
    except Exception as error:  # pickle raises various types for invalid bytes
        raise CheckpointError(describe(error)) from error
    before = os.environ.get(FORCE_WEIGHTS_ONLY)
    os.environ[FORCE_WEIGHTS_ONLY] = "1"
    try:
        yield
    except CheckpointException as error:  # a BaseException, with one failure per rank
        raise CheckpointError(describe(next(failure for failure, _ in error.failures.values()))) from error
    finally:
        os.environ.pop(FORCE_WEIGHTS_ONLY)
        os.environ.update({} if before is None else {FORCE_WEIGHTS_ONLY: before})


def load_consolidated(directory: Path) -> dict[str, Any]:
    """Load a sharded checkpoint in the format of a single-file checkpoint."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".") as scratch_dir:
        file = Path(scratch_dir) / "consolidated.pt"
        with load_shards_safely(directory):
            dcp_to_torch_save(directory, file)
        consolidated: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    saved: dict[str, Any] = torch.load(directory / UNSHARDED, map_location="cpu", weights_only=True)
    states = [consolidated[name] for name in sorted(consolidated) if name.startswith("optimizer_")]
    return {
        **saved,
        "state_dict": consolidated["state_dict"],
        "optimizer_states": [key_optimizer_state_by_index(state) for state in states],
    }


def key_optimizer_state_by_index(state: dict[str, Any]) -> dict[str, Any]:
    """Convert an optimizer state dict with parameter names as keys to torch's format with indices as keys."""
    indices: dict[str, int] = {}
    groups = []
    for group in state["param_groups"]:
        params = [indices.setdefault(name, len(indices)) for name in group["params"]]
        groups.append({**group, "params": params})
    return {"state": {indices[name]: values for name, values in state["state"].items()}, "param_groups": groups}


def key_optimizer_state_by_name(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Convert an optimizer state dict in torch's format to one with parameter names as keys.

    Args:
        state: Optimizer state dict with parameter indices as keys.
        names: Parameter names in the order of the indices.
    """
    groups = [{**group, "params": [names[index] for index in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[index]: values for index, values in state["state"].items()}, "param_groups": groups}


def list_shard_files(directory: Path) -> list[Path]:
    """Return the files of a sharded checkpoint, except the checksums."""
    return sorted(path for path in directory.iterdir() if path.is_file() and path.name != CHECKSUMS_FILE)


def fsync_and_compute_crc32(path: Path) -> int:
    """Flush a file to disk, and return its CRC-32."""
    checksum = 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(1 << 24):
            checksum = zlib.crc32(block, checksum)
    return checksum
