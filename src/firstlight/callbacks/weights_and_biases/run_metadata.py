"""Log the origin of a run to W&B: command, commit, machine and run directory."""

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.optional import continue_on_failure

FIELDS = ("command", "git", "machine", "versions", "device")


class WandbRunMetadata(Callback):
    """Add command, git commit, machine, package versions and run directory to the W&B config, under "run".

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    @continue_on_failure("W&B run metadata")
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the fields of run.json."""
        file = self.output_dir / "run.json"
        if (loggers := get_wandb_loggers(trainer)) and file.is_file():
            record = json.loads(file.read_text(encoding="utf-8"))
            metadata = {"run_dir": str(self.output_dir.resolve()), **{name: record.get(name) for name in FIELDS}}
            for logger in loggers:
                logger.experiment.config.update({"run": metadata}, allow_val_change=True)
