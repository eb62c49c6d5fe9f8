"""The results of evaluate and predict: a directory of their own with evaluation.json; the run does not change."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.run.files import to_plain_dict, utc_now, write_atomically
from firstlight.run.output_path import claim_new_dir, validate_new_dir
from firstlight.run.overrides import list_overrides
from firstlight.run.redaction import redact

# In a run directory: one directory per evaluation.
EVALUATIONS_DIR = "evaluations"
EVALUATION_FILE = "evaluation.json"
# A sharded checkpoint lists the checksums of its files in it.
CHECKSUMS_FILE = "checksums.json"
# For a run that cannot be written, and for a checkpoint without a run.
FALLBACK_DIR = Path("logs/evaluate")
AUTO = "auto"


class EvaluationRecord:
    """evaluation.json: what was evaluated, with which checkpoint, on which data, and the metrics.

    Args:
        directory: Directory of the results.
        fields: The first contents of the file.
    """

    def __init__(self, directory: Path, fields: dict[str, Any]) -> None:
        self.directory = directory
        self.fields = fields

    def write(self, **fields: Any) -> None:
        """Add the results, and write the file."""
        content = redact({**self.fields, **fields})
        write_atomically(self.directory / EVALUATION_FILE, json.dumps(content, indent=2, default=str) + "\n")


@contextmanager
def open_evaluation(cfg: DictConfig, checkpoint: str) -> Iterator[EvaluationRecord]:
    """Create the directory of the results, and set `output_dir` of the config to it.

    The directory is removed if nothing was written to it.

    Args:
        cfg: Config of the command. `output_dir: auto` chooses the directory.
        checkpoint: The checkpoint that the command loads.

    Raises:
        ConfigError: If the directory exists and is not empty, or cannot be created.
    """
    run_dir = Path(cfg.run) if cfg.run is not None else find_run_dir(Path(checkpoint))
    is_chosen = str(cfg.output_dir) != AUTO
    if not is_chosen:
        directory = create_evaluation_dir(run_dir, Path(checkpoint))
    else:
        directory = validate_new_dir(str(cfg.output_dir), "output_dir")
        directory.mkdir(parents=True, exist_ok=True)
    with open_dict(cfg):
        cfg.output_dir = str(directory)
    try:
        yield EvaluationRecord(directory, make_initial_fields(cfg, run_dir, checkpoint))
    finally:
        with suppress(OSError):  # not empty
            directory.rmdir()
            if not is_chosen:
                directory.parent.rmdir()


def find_run_dir(checkpoint: Path) -> Path | None:
    """Return the run directory that contains a checkpoint, or None."""
    for parent in list(checkpoint.parents)[:2]:
        if (parent / "run.json").is_file() or (parent / "config.yaml").is_file():
            return parent
    return None


def create_evaluation_dir(run_dir: Path | None, checkpoint: Path) -> Path:
    """Create <run>/evaluations/<time>, or logs/evaluate/<run>_<time> if the run cannot be written.

    Raises:
        ConfigError: If neither can be created.
    """
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    if run_dir is not None and not (run_dir / EVALUATIONS_DIR).is_symlink():  # a link may lead out of the run
        with suppress(OSError):
            return claim_new_dir(run_dir / EVALUATIONS_DIR / stamp)
    name = run_dir.resolve().name if run_dir is not None else checkpoint.stem
    directory = FALLBACK_DIR / f"{name}_{stamp}"
    validate_new_dir(str(directory), "output_dir")
    return claim_new_dir(directory)


def hash_checkpoint(path: Path) -> str | None:
    """Return a hash of the contents of a checkpoint, from the checksums in it; None if it cannot be read."""
    try:
        if path.is_dir():  # sharded
            listed = [path.joinpath(CHECKSUMS_FILE).read_text()]
        else:
            with ZipFile(path) as archive:
                listed = [f"{file.filename} {file.file_size} {file.CRC}" for file in archive.infolist()]
    except (OSError, BadZipFile):
        return None
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


def make_initial_fields(cfg: DictConfig, run_dir: Path | None, checkpoint: str) -> dict[str, Any]:
    """Return the fields of evaluation.json that are known before the results."""
    data = cfg.get("data")
    return {
        "command": str(cfg.command),
        "overrides": list_overrides(),
        "started": utc_now(),
        "run": str(run_dir.resolve()) if run_dir is not None else None,
        "checkpoint": checkpoint,
        "checkpoint_hash": hash_checkpoint(Path(checkpoint)),
        "data": to_plain_dict(data) if OmegaConf.is_dict(data) else None,
        "metrics": {},
    }
