"""Accumulate gradients over a number of batches that depends on the epoch."""

from typing import ClassVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from firstlight.config.switches import describe_unreached
from firstlight.run.errors import ConfigError


class AccumulationSchedule(GradientAccumulationScheduler):
    """Lightning's GradientAccumulationScheduler as an entry of the config.

    `Trainer.estimated_stepping_batches` counts its steps, so that a learning-rate schedule ends with the run.

    Args:
        scheduling: First epoch (from 0) -> batches per optimizer step. Before the first of these epochs, 1 batch.
    """

    switch: ClassVar[str] = "scheduling"

    def __init__(self, scheduling: dict[int, int]) -> None:
        super().__init__(dict(scheduling))  # Lightning adds a key

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that Lightning runs the optimizer, and print which epochs the run does not reach.

        Raises:
            ConfigError: If the module does.
        """
        if not pl_module.automatic_optimization:
            raise ConfigError(
                f"callbacks.accumulation.scheduling has no effect, because {type(pl_module).__name__} optimizes "
                "manually. Set callbacks.accumulation.scheduling=null."
            )
        note = describe_unreached("callbacks.accumulation.scheduling", self.scheduling, trainer.max_epochs)
        if note and trainer.is_global_zero:
            print(note, flush=True)
