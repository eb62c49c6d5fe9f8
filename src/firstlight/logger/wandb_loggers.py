"""Find the loggers of a trainer that can show more than figures."""

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger


def get_wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """Return the W&B loggers of this process: none where W&B is switched off, or on ranks that do not log."""
    return [each for each in trainer.loggers if isinstance(each, WandbLogger)] if trainer.is_global_zero else []
