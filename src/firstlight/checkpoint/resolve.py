"""Select the checkpoint of a run that a command uses."""

from pathlib import Path

from omegaconf import DictConfig

from firstlight.checkpoint import io as checkpoint_io
from firstlight.run.errors import CheckpointError
from firstlight.run.files import BEST_CHECKPOINT_FILE, get_best_or_last_checkpoint, list_checkpoints, read_json_or_empty


def resolve_checkpoint(cfg: DictConfig) -> str:
    """Return the checkpoint that `ckpt=` names, or the best checkpoint of `run=`, or else its last one.

    Raises:
        CheckpointError: If the run has no checkpoint.
    """
    if cfg.ckpt is not None and str(cfg.ckpt) not in ("best", "last"):
        return str(cfg.ckpt)
    run_dir = Path(cfg.run)
    found = list_checkpoints(run_dir).get(cfg.ckpt) if cfg.ckpt else get_best_or_last_checkpoint(run_dir)
    if found is not None:
        return found
    raise CheckpointError(
        f"{cfg.run} has no checkpoint yet. Wait until the first epoch has finished, or pass ckpt=<file>."
    )


def find_latest_checkpoint(run_dir: str) -> str:
    """Return the most recent valid checkpoint of a run; print a warning for each corrupt one and a missing best one.

    Raises:
        CheckpointError: If the run has no valid checkpoint.
    """
    path, problems = checkpoint_io.find_latest_valid_checkpoint(Path(run_dir))
    for problem in problems:
        print(f"Warning: {problem} Resuming from {path.name}.", flush=True)
    recorded = read_json_or_empty(Path(run_dir) / BEST_CHECKPOINT_FILE).get("path")
    if recorded and "best" not in list_checkpoints(Path(run_dir)):
        print(
            f"Warning: the best checkpoint {recorded} is missing. If no later epoch is better, the last checkpoint is "
            "tested.",
            flush=True,
        )
    return str(path)
