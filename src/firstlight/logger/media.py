"""Send images and tables to the loggers that accept them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger

from firstlight.logger.wandb_loggers import get_wandb_loggers


def log_image(trainer: Trainer, key: str, paths: Sequence[Path], includes_wandb: bool = True) -> None:
    """Send image files to each logger with a method `log_image(key, images, step)`, on rank 0."""
    for logger, step in list_loggers(trainer, "log_image", includes_wandb):
        logger.log_image(key, [str(path) for path in paths], **step)


def log_table(
    trainer: Trainer, key: str, columns: Sequence[str], data: list[list[Any]], includes_wandb: bool = True
) -> None:
    """Send a table to each logger with a method `log_table(key, columns, data, step)`, on rank 0."""
    for logger, step in list_loggers(trainer, "log_table", includes_wandb):
        logger.log_table(key, columns=list(columns), data=data, **step)


def list_loggers(trainer: Trainer, method: str, includes_wandb: bool) -> list[tuple[Any, dict[str, int]]]:
    """Return the loggers of rank 0 that have a method, and its argument `step`.

    The step of W&B counts its own records, so that W&B receives none.
    """
    if not trainer.is_global_zero:
        return []
    others: list[Any] = [logger for logger in trainer.loggers if not isinstance(logger, WandbLogger)]
    step = {"step": trainer.global_step}
    found = [(logger, step) for logger in others if callable(getattr(logger, method, None))]
    return [*((logger, {}) for logger in get_wandb_loggers(trainer) if includes_wandb), *found]


def format_markdown_table(columns: Sequence[str], data: list[list[Any]]) -> str:
    """Return a table in Markdown."""
    rows = [list(columns), ["---"] * len(columns), *data]
    return "\n".join("| " + " | ".join(_format_cell(cell) for cell in row) + " |" for row in rows)


def _format_cell(cell: Any) -> str:
    text = f"{cell:.4g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")
