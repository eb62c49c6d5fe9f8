"""Read and write checkpoints: writes are atomic, reads verify checksums."""

import copy
import os
import zipfile
from collections import Counter, OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import nn

from firstlight.checkpoint import sharded
from firstlight.checkpoint.sharded import USE_ANOTHER_CHECKPOINT
from firstlight.run.errors import CheckpointError, corrupt_file, not_found
from firstlight.run.files import ENGINE_KEY, write_atomically
from firstlight.run.progress import show_progress

# What `torch.load(weights_only=True)` accepts, apart from containers.
SAFE_TYPES = (bool, int, float, complex, str, bytes, torch.Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size)
SAFE_MAPPINGS = (dict, OrderedDict, Counter)

# What an array of numbers needs to be loaded.
NUMPY_GLOBALS = [
    getattr(np, "_core").multiarray._reconstruct,  # noqa: B009 - mypy knows no private module
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in "?bhilBHILefdFD"),
]

# Increase when code of an earlier version cannot read new checkpoints correctly.
FORMAT_VERSION = 1


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint I/O with atomic writes: a crash leaves either the previous or the new file.

    Lightning 2.6 writes to the system's temporary directory and moves the result; across file systems that is a copy,
    which a crash can leave incomplete.
    """

    def __init__(self) -> None:
        # Entries that were left out, each of which is printed once.
        self.reported: set[str] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint atomically.

        Raises:
            OSError: If the file cannot be written. The previous file is kept.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        removed: list[str] = []
        safe = remove_objects(checkpoint, "", removed)
        for name in removed:
            if name not in self.reported:
                self.reported.add(name)
                print(f"checkpoint  leaves out {name}: an object, which could run code when it is loaded", flush=True)
        # A run that was trained with shards may be resumed on one device.
        file = target.with_name(f".{target.name}.file") if target.is_dir() else target
        with show_progress(f"Saving {target}"):
            write_atomically(file, partial(torch.save, safe))
        if file != target:
            sharded.replace_dir(file, target)

    def load_checkpoint(self, path: str | os.PathLike[str], map_location: Any = None, weights_only: Any = None) -> Any:
        """Load a checkpoint; its contents cannot run code."""
        with torch.serialization.safe_globals(NUMPY_GLOBALS):
            return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def remove_objects(value: Any, path: str, removed: list[str]) -> Any:
    """Return a copy of checkpoint contents without entries that `torch.load(weights_only=True)` rejects.

    Hyperparameters of a module may be modules, metrics, classes or partials. NumPy numbers become Python numbers.

    Args:
        value: The contents.
        path: Name of the entry, such as "hyper_parameters.loss".
        removed: Receives the names of the entries that are left out.
    """
    if isinstance(value, list):
        return [remove_objects(item, f"{path}.{index}", removed) for index, item in enumerate(value)]
    # Keeps the class, because a module's state dict is an OrderedDict with metadata as an attribute.
    copied = copy.copy(value if type(value) in SAFE_MAPPINGS else dict(value))
    for name, item in value.items():
        where = f"{path}.{name}".lstrip(".")
        if contains_only_safe_types(item):
            continue
        # A list of mappings is, for example, the states of the schedulers.
        if isinstance(item, dict) or (isinstance(item, list) and all(isinstance(part, dict) for part in item)):
            copied[name] = remove_objects(item, where, removed)
        elif isinstance(item, np.generic):
            copied[name] = item.item()
        else:
            del copied[name]
            removed.append(where)
    return copied


def contains_only_safe_types(value: Any) -> bool:
    """Return True if `torch.load(weights_only=True)` accepts a value."""
    if type(value) in SAFE_MAPPINGS:
        return all(map(contains_only_safe_types, value)) and all(map(contains_only_safe_types, value.values()))
    if type(value) in (list, tuple, set):
        return all(map(contains_only_safe_types, value))
    is_number_array = type(value) is np.ndarray and value.dtype.kind in "biufc"
    return value is None or is_number_array or type(value) in SAFE_TYPES


def verify_checkpoint(path: Path) -> None:
    """Verify the checksums of a checkpoint; torch writes them, but does not verify them.

    Raises:
        CheckpointError: If the checkpoint is missing, truncated or modified.
    """
    if path.is_dir():
        with show_progress(f"Verifying {path}"):
            sharded.verify_sharded_checkpoint(path)
        return
    if not path.is_file():
        raise CheckpointError(not_found(f"Checkpoint {path}", "Pass run=<directory> or ckpt=<file>."))
    try:
        with show_progress(f"Verifying {path}"), zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises various types for invalid bytes
        raise CheckpointError(
            f"{path} is corrupt or not a checkpoint ({type(error).__name__}). {USE_ANOTHER_CHECKPOINT}"
        ) from error
    if damaged:
        raise CheckpointError(corrupt_file(str(path), f"checksum mismatch in {damaged}", USE_ANOTHER_CHECKPOINT))


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU; its contents cannot run code.

    Raises:
        CheckpointError: If the checkpoint is missing or corrupt, was not written by firstlight, or has a newer format.
    """
    verify_checkpoint(Path(path))
    try:
        saved: Any = read_checkpoint(Path(path))
    except CheckpointError:
        raise
    except Exception as error:  # torch raises various types for unknown contents
        raise CheckpointError(
            f"{path} is corrupt or not a checkpoint ({type(error).__name__}). {USE_ANOTHER_CHECKPOINT}"
        ) from error
    added = saved.get(ENGINE_KEY) if isinstance(saved, dict) else None
    if not isinstance(added, dict) or "model_kwargs" not in added:
        raise CheckpointError(
            f"{path} is not a firstlight checkpoint. To use only its weights, set model.weights={path}."
        )
    version = added.get("format_version", 0)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} uses checkpoint format {version}, but this version supports up to {FORMAT_VERSION}. Update "
            "firstlight."
        )
    if problem := find_wrong_entry(saved):
        raise CheckpointError(corrupt_file(str(path), problem, USE_ANOTHER_CHECKPOINT))
    return saved


def find_wrong_entry(saved: dict[str, Any]) -> str:
    """Return which entry of a checkpoint has another type than the engine writes, or ""."""
    added = saved[ENGINE_KEY]
    config = added.get("config", {"model": {"_target_": ""}})
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("_target_"), str) or not has_only_names(model):
        return "its config describes no model"
    if not has_only_names(added["model_kwargs"]):
        return "its model_kwargs are not named"
    weights = saved.get("state_dict", {})
    if not has_only_names(weights):
        return "its weights have no names"
    return ""


def has_only_names(value: Any) -> bool:
    """Return True if a value is a mapping of which each key is a string."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def read_checkpoint(path: Path) -> Any:
    """Return the contents of a checkpoint: a single file, or a directory with shards."""
    with show_progress(f"Loading {path}"), torch.serialization.safe_globals(NUMPY_GLOBALS):
        if path.is_dir():
            return sharded.load_consolidated(path)
        return torch.load(path, map_location="cpu", weights_only=True)


def consolidate_shards(run_dir: Path) -> None:
    """Convert the sharded checkpoints of a run to single files, which any machine can load."""
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        if path.is_dir():
            temporary = path.with_name(f".{path.name}.consolidated")
            with show_progress(f"Consolidating {path}"):
                write_atomically(temporary, partial(torch.save, sharded.load_consolidated(path)))
            sharded.replace_dir(temporary, path)


def find_latest_valid_checkpoint(run_dir: Path) -> tuple[Path, list[str]]:
    """Find the most recent checkpoint of a run that is not corrupt.

    Returns:
        The checkpoint, and one message for each more recent checkpoint that is corrupt.

    Raises:
        CheckpointError: If the run has no valid checkpoint.
    """
    # last.ckpt comes first by its name, not by its timestamp, because the clock may have been set back.
    names = ["last.ckpt", "best.ckpt"]
    others = sorted({path.name for path in (run_dir / "checkpoints").glob("*.ckpt")} - {*names})
    problems: list[str] = []
    paths = [run_dir / "checkpoints" / name for name in [*names, *others]]
    candidates = [candidate for path in paths for candidate in (path, sharded.make_backup_path(path))]
    for path in candidates:
        if path.exists():
            try:
                verify_checkpoint(path)
                return path, problems
            except CheckpointError as error:
                problems.append(str(error).removesuffix(f" {USE_ANOTHER_CHECKPOINT}"))
    detail = f" ({problems[0].removesuffix('.')})" if problems else ""
    raise CheckpointError(f"{run_dir} has no checkpoint to resume from{detail}. Start a new run with `make train`.")
