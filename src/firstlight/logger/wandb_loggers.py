"""Access to the W&B loggers of a trainer, for callbacks that log more than metrics."""

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger


def get_wandb_loggers(trainer: Trainer) -> list[WandbLogger]:
    """Return the W&B loggers of a trainer; none if W&B is disabled or on ranks other than 0."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return [logger for logger in loggers if trainer.is_global_zero and getattr(logger, "mode", "") != "disabled"]
