"""Put into each checkpoint what Lightning leaves out and an exact resume needs."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer

from firstlight.checkpoint.io import FORMAT_VERSION, consolidate_shards
from firstlight.checkpoint.rng_state import get_rng_states, set_rng_states
from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.metrics_csv import MetricsCSVLogger


class ExactResume(Callback):
    """Save the random states and put them back; let metrics.csv go on where the checkpoint stands.

    The order of the data and its augmentation are functions of seed and epoch (`data/sampler.py`, `data/seeding.py`):
    they need no saving.
    """

    def __init__(self) -> None:
        """Resume nothing yet."""
        self.rng_states: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the format, the random states and the figures, once metrics.csv is on the disk."""
        checkpoint["format_version"] = FORMAT_VERSION
        checkpoint["rng_states"] = all_gather_objects(get_rng_states())
        checkpoint["metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSVLogger):
                logger.save()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what a training starts with; its figures so far are there even if nothing is left to train.

        Raises:
            ValueError: it was trained on another number of devices, which took other samples in each step.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return  # a test of the best one goes on with nothing
        states = checkpoint.get("rng_states") or [None]
        if len(states) != trainer.world_size:
            raise ValueError(
                f"A run goes on with as many devices as before, but its checkpoint is of {len(states)} and this "
                f"training of {trainer.world_size}: go on where there are {len(states)}, or start a new run"
            )
        self.rng_states = states[trainer.global_rank]
        trainer.callback_metrics.update(checkpoint.get("metrics", {}))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let an optimizer go on with the kernel it was built with: that of the device which is here now."""
        for optimizer in trainer.optimizers:
            optimizer.register_load_state_dict_pre_hook(preserve_fused_flags)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put everything back, at the last moment before the first step; each device draws on chance of its own."""
        if self.rng_states is None and trainer.world_size > 1:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)
        if self.rng_states is not None:
            set_rng_states(self.rng_states)
            for logger in trainer.loggers:
                if isinstance(logger, MetricsCSVLogger):
                    logger.truncate_after(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set right by which step Lightning names the figures of validations: it counts a restart as one."""
        if self.rng_states is not None:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self.rng_states = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make files of checkpoints that several devices wrote in parts: what comes now needs one device."""
        if trainer.is_global_zero:
            consolidate_shards(Path(trainer.default_root_dir))
        trainer.strategy.barrier()


def preserve_fused_flags(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Put `fused` and `foreach` of an optimizer's groups into a state that it is going to load."""
    for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=False):
        saved.update({name: own[name] for name in ("fused", "foreach") if name in own})
