"""Upload the checkpoints of a run to W&B."""

import os
import shutil
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.files import list_checkpoints
from firstlight.run.optional import continue_on_failure

ALIASES = {"best": ["best"], "last": ["last", "latest"]}


class WandbCheckpointArtifacts(Callback):
    """Log best.ckpt and last.ckpt as versions of the artifact checkpoint-<run id>, with aliases "best" and "last".

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    @continue_on_failure("W&B checkpoint artifact")
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the checkpoints, which are final by now."""
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


def hard_link_or_copy(file: Path, directory: Path) -> Path:
    """Create a second name of a file, since a resumed run may replace the file before it is uploaded.

    A hard link takes no space while both names refer to the same file. If the file system has no hard links, the
    file is copied.

    Args:
        file: The file.
        directory: Directory of the new name.
    """
    link = directory / file.name
    link.unlink(missing_ok=True)
    try:
        os.link(file, link)
    except OSError:
        shutil.copy(file, link)
    return link
