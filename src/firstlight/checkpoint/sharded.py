"""Checkpoints in parts: a folder to which each device writes its own part, and how one file becomes of it."""

import json
import os
import pickle
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torch

from firstlight.run.files import replace_atomically, write_atomically

CHECKSUMS = "checksums.json"
# What torch lists the parts by is a pickle, which could run any code: it may name nothing but these.
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
    """Reads the list of parts, and nothing that could do anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that such a list is made of.

        Raises:
            ValueError: it names another one.
        """
        if name not in SAFE_GLOBALS.get(module, ()):
            raise ValueError(f"it names {module}.{name}, which no list of parts does")
        return super().find_class(module, name)


def write_checksums(folder: Path) -> None:
    """Write down the checksum of each part, once all of them are on the disk."""
    write_atomically(
        folder / CHECKSUMS, json.dumps({path.name: compute_crc32(path) for path in list_shard_files(folder)})
    )


def replace_dir(beside: Path, place: Path) -> None:
    """Give a folder its final name; at each moment what was there before has a name, or the new one has."""
    before = make_backup_path(place)
    remove_path(before)
    if place.exists():
        os.replace(place, before)
    replace_atomically(beside, place)
    remove_path(before)


def make_backup_path(place: Path) -> Path:
    """Return the name that a checkpoint has while another one takes its place."""
    return place.with_name(f".{place.name}.before")


def remove_path(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def verify_shards(folder: Path) -> None:
    """Refuse a folder that is not as it was written, or whose list of parts could run code.

    Raises:
        ValueError: a part is missing or has changed.
    """
    try:
        known = dict(json.loads((folder / CHECKSUMS).read_text()))
        damaged = [name for name in known if compute_crc32(folder / name) != known[name]]
        with (folder / ".metadata").open("rb") as file:
            RestrictedUnpickler(file).load()
    except Exception as error:  # pickle raises whatever a wrong byte leads to
        raise ValueError(f"{folder} is damaged or no checkpoint ({type(error).__name__}: {error})") from error
    if damaged or {path.name for path in list_shard_files(folder)} != set(known):
        raise ValueError(f"{folder} is damaged ({', '.join(damaged) or 'a part is missing'}): give another checkpoint")


def load_consolidated(folder: Path) -> dict[str, Any]:
    """Return what a folder holds, as if one device had written it to a file."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        file = Path(scratch) / "whole.pt"
        dcp_to_torch_save(folder, file)
        whole: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    saved: dict[str, Any] = torch.load(folder / "meta.pt", map_location="cpu", weights_only=True)
    states = [whole[name] for name in sorted(whole) if name.startswith("optimizer_")]
    return {
        **saved,
        "state_dict": whole["state_dict"],
        "optimizer_states": [index_optimizer_state_by_number(state) for state in states],
    }


def index_optimizer_state_by_number(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an optimizer that names its weights as one that counts them, as torch's own do."""
    numbers: dict[str, int] = {}
    groups = []
    for group in state["param_groups"]:
        own = [numbers.setdefault(name, len(numbers)) for name in group["params"]]
        groups.append({**group, "params": own})
    return {"state": {numbers[name]: values for name, values in state["state"].items()}, "param_groups": groups}


def index_optimizer_state_by_name(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the state of an optimizer that counts its weights as one that names them."""
    groups = [{**group, "params": [names[number] for number in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[number]: values for number, values in state["state"].items()}, "param_groups": groups}


def list_shard_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint, but that of the checksums."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)


def compute_crc32(path: Path) -> int:
    """Return the CRC-32 of a file that is on the disk then."""
    total = 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(1 << 24):
            total = zlib.crc32(block, total)
    return total
