"""Which checkpoint of a run a command uses."""

from pathlib import Path

from omegaconf import DictConfig

from firstlight.checkpoint import io as checkpoint_io


def resolve_checkpoint(cfg: DictConfig) -> str:
    """Return the checkpoint that `ckpt=` or `run=` (its best, else its last) names.

    Raises:
        ValueError: If the run has none.
    """
    if cfg.ckpt is not None and str(cfg.ckpt) not in ("best", "last"):
        return str(cfg.ckpt)
    folder = Path(cfg.run) / "checkpoints"
    for name in [cfg.ckpt] if cfg.ckpt else ["best", "last"]:
        if (folder / f"{name}.ckpt").exists():
            return str(folder / f"{name}.ckpt")
    raise ValueError(f"{cfg.run} has no checkpoint yet: let its training finish an epoch, or give ckpt=<file>")


def find_latest_checkpoint(folder: str) -> str:
    """Return the newest checkpoint of a run that is whole, and print which ones are not.

    Raises:
        ValueError: If there is none.
    """
    path, damaged = checkpoint_io.find_latest_valid_checkpoint(Path(folder))
    for sentence in damaged:
        print(f"{sentence.partition(': give')[0]}; going on from {path.name}", flush=True)
    return str(path)
