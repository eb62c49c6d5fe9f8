"""Keep the checkpoints of a run at W&B."""

import os
import shutil
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.files import list_checkpoints

ALIASES = {"best": ["best"], "last": ["last", "latest"]}


class WandbCheckpointArtifacts(Callback):
    """Log best.ckpt and last.ckpt as versions of the artifact checkpoint-<run id>, aliases "best" and "last"."""

    def __init__(self, output_dir: str) -> None:
        """Read from the run folder `output_dir`."""
        self.output_dir = Path(output_dir)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log both; the files are there by then."""
        for logger in get_wandb_loggers(trainer):
            import wandb

            run = logger.experiment
            for name, path in list_checkpoints(self.output_dir).items():
                artifact = wandb.Artifact(f"checkpoint-{run.id}", "model", metadata={"step": trainer.global_step})
                # Immutable: W&B's cache would otherwise copy every checkpoint into the home directory.
                artifact.add_file(
                    str(hard_link_or_copy(Path(path), Path(run.dir).parent)), name=f"{name}.ckpt", policy="immutable"
                )
                run.log_artifact(artifact, aliases=ALIASES[name])


def hard_link_or_copy(file: Path, folder: Path) -> Path:
    """Return a second name of a file in a folder: a run that goes on replaces the file before it is uploaded.

    It takes no space as long as both are the same, where the file system has hard links; else it is a copy.
    """
    link = folder / file.name
    link.unlink(missing_ok=True)
    try:
        os.link(file, link)
    except OSError:
        shutil.copy(file, link)
    return link
