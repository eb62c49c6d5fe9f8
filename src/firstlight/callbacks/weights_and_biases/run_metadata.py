"""Tell W&B where a run comes from: its command, commit and folder."""

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.logger.wandb_loggers import get_wandb_loggers

FIELDS = ("command", "git", "machine", "versions", "device")


class WandbRunMetadata(Callback):
    """Put command, git commit, machine, versions and folder of the run into its configuration at W&B, under "run"."""

    def __init__(self, output_dir: str) -> None:
        """Read from the run folder `output_dir`."""
        self.output_dir = Path(output_dir)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass on what run.json says."""
        file = self.output_dir / "run.json"
        if (found := get_wandb_loggers(trainer)) and file.is_file():
            run = json.loads(file.read_text(encoding="utf-8"))
            facts = {"folder": str(self.output_dir.resolve()), **{name: run.get(name) for name in FIELDS}}
            for logger in found:
                logger.experiment.config.update({"run": facts}, allow_val_change=True)
