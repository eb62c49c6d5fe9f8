"""Add to each checkpoint the state that an exact resume needs and that Lightning does not save."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer

from firstlight.callbacks.averaged_weights import end_averages, restore_stochastic_averaging, start_averages
from firstlight.callbacks.best_checkpoint import BestCheckpointRecord
from firstlight.callbacks.checkpoint_paths import confine_checkpoint_paths
from firstlight.callbacks.inexact_callbacks import find_inexact_callbacks
from firstlight.callbacks.last_checkpoint import LastCheckpoint
from firstlight.callbacks.loop_state import count_updates, get_loop_state, restore_frozen, restore_loop_state
from firstlight.checkpoint.io import FORMAT_VERSION, consolidate_shards
from firstlight.checkpoint.rng_state import get_rng_states, set_rng_states
from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.metrics_csv import MetricsCSVLogger
from firstlight.model.optimizer import allow_clipping, has_own_optimizers
from firstlight.run.errors import CheckpointError
from firstlight.run.files import ENGINE_KEY
from firstlight.trainer.steps import count_steps


class ExactResume(Callback):
    """Save and restore the RNG states and the state of the loop, and continue metrics at the checkpoint.

    The order of the samples and their augmentation are functions of seed and epoch (`data/sampler.py`,
    `data/seeding.py`), so they need not be saved.
    """

    def __init__(self) -> None:
        self.rng_states: dict[str, Any] | None = None
        # Steps and latest metrics at the checkpoint from which the run resumes, and the state of the loop.
        self.steps = 0
        self.metrics: dict[str, float] = {}
        self.loop_state: dict[str, Any] | None = None
        # Attributes of the trainer that change while a run that resumes in its last validation repeats it.
        self.limits: dict[str, Any] | None = None
        # Number of updates of each metric of the module before the current validation.
        self.num_updates: dict[str, int] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the format version, the RNG states of all ranks, the latest metrics and the loop; flush the loggers."""
        # A killed run resumes at its checkpoint, and does not log the earlier steps again.
        for logger in trainer.loggers:
            logger.save()
        num_updates = self.num_updates if trainer.validating else {}
        checkpoint.setdefault(ENGINE_KEY, {}).update(
            format_version=FORMAT_VERSION,
            rng_states=all_gather_objects(get_rng_states()),
            steps=count_steps(trainer),
            metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
            loop_state=get_loop_state(trainer, checkpoint["loops"]["fit_loop"], num_updates),
        )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the RNG states of this rank, the state of the loop and the latest metrics.

        Raises:
            CheckpointError: If the number of devices has changed: each step would use other samples. Or if a callback
                cannot be resumed exactly.
        """
        confine_checkpoint_paths(trainer.callbacks, checkpoint.get("callbacks"))  # type: ignore[attr-defined]
        if trainer.state.fn != TrainerFn.FITTING:
            return  # Testing the best checkpoint does not resume training.
        saved = checkpoint[ENGINE_KEY]
        if not saved["steps"]:
            return  # BatchSizeFinder and LearningRateFinder load the state from which they started.
        for name, reason in find_inexact_callbacks(trainer).items():
            raise CheckpointError(f"Cannot resume a run with the callback {name}: {reason}. Start a new run.")
        states = saved.get("rng_states") or [None]
        if len(states) != trainer.world_size:
            raise CheckpointError(
                f"Cannot resume on {trainer.world_size} device(s): the checkpoint was written on {len(states)}. "
                f"Resume on {len(states)} device(s), or start a new run."
            )
        self.rng_states = states[trainer.global_rank]
        self.steps = int(saved["steps"])
        if not has_own_optimizers(pl_module):
            # The schedule of the config is fitted to the length of the resumed run.
            for state in checkpoint.get("lr_schedulers", []):
                for name in ("total_steps", "T_max", "_schedule_phases"):
                    state.pop(name, None)
        self.metrics, self.loop_state = dict(saved.get("metrics", {})), saved.get("loop_state")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore which parameters are frozen, and let optimizers keep the kernels of the current device."""
        if self.loop_state is not None:
            restore_frozen(pl_module, self.loop_state)
            if self.loop_state["should_stop"] and trainer.is_global_zero:
                reason = "a callback, such as EarlyStopping, has ended the training: no further step is trained"
                print(f"{'resume':<8}  {reason}. Use init_from=<run> to train longer.", flush=True)
        elif trainer.is_global_zero:
            for name, reason in find_inexact_callbacks(trainer).items():
                print(f"{'resume':<8}  not possible with {name}: {reason}", flush=True)
        # LastCheckpoint saves the state of all other callbacks, also of those that the module has added.
        order: dict[type, int] = {BestCheckpointRecord: 1, LastCheckpoint: 2}
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        # A new list, because Lightning iterates over the old one.
        trainer.callbacks = sorted(callbacks, key=lambda callback: order.get(type(callback), 0))  # type: ignore[attr-defined]
        for optimizer in trainer.optimizers:
            optimizer.register_load_state_dict_pre_hook(preserve_fused_flags)
            if trainer.gradient_clip_val:
                allow_clipping(optimizer)  # optimizers of the module may be fused too

    def on_state_restored(self, trainer: Trainer) -> None:
        """Restore the loop and continue metrics.csv, even if no step is left to train."""
        if self.loop_state is not None:
            for logger, num_rows in zip(find_csv_loggers(trainer), self.loop_state["metrics_rows"], strict=False):
                logger.truncate(num_rows, self.loop_state.get("num_logged_steps"))
            continue_loggers(trainer, self.steps - 1)
            restore_loop_state(trainer, self.loop_state, self.metrics)
            if self.loop_state["is_validating"] and trainer.fit_loop.done:
                # The last step has been taken, but not its validation, for which Lightning must enter its loop.
                self.limits = {"max_steps": trainer.max_steps, "should_stop": trainer.should_stop}
                trainer.fit_loop.epoch_loop.max_steps, trainer.should_stop = -1, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the RNG states just before the first step; in a new run, seed each rank differently."""
        if self.loop_state is not None:
            restore_stochastic_averaging(trainer, pl_module)
            if self.limits is not None:
                loop = trainer.fit_loop.epoch_loop
                is_across_epochs = trainer.check_val_every_n_epoch is None
                self.limits["val_check_batch"] = trainer.val_check_batch
                trainer.val_check_batch = (loop.total_batch_idx if is_across_epochs else loop.batch_idx) + 1
            # GradientAccumulationScheduler sets it at the start of an epoch, and checks it when the training starts.
            trainer.accumulate_grad_batches = self.loop_state["accumulate_grad_batches"]
        if self.rng_states is None and trainer.world_size > 1:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)
        if self.rng_states is not None:
            set_rng_states(self.rng_states)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the epoch of custom batch samplers; Lightning does so for samplers only."""
        loaders = trainer.fit_loop._combined_loader
        for loader in loaders.flattened if loaders is not None else []:
            batch_sampler: Any = getattr(loader, "batch_sampler", None)
            if hasattr(batch_sampler, "set_epoch"):
                batch_sampler.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Correct the step at which Lightning logs validation metrics, since it counts a resume as a step."""
        if self.rng_states is not None:
            trainer.fit_loop.epoch_loop._batches_that_stepped = self.steps
            self.rng_states = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember which metrics the training has updated: a resumed run repeats the validation."""
        self.num_updates = count_updates(pl_module)
        start_averages(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the limits of a run that resumed in its last validation."""
        if self.limits is not None:
            trainer.fit_loop.epoch_loop.max_steps = self.limits["max_steps"]
            trainer.should_stop = trainer.should_stop or self.limits["should_stop"]
            trainer.val_check_batch = self.limits["val_check_batch"]
            self.limits = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let averages without any update follow the weights, because checkpoints contain them."""
        start_averages(trainer, pl_module)
        # Otherwise, Lightning skips the schedulers that monitor a metric at the end of the epoch in which it resumed.
        trainer.fit_loop._restarting = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget averages of the weights, which the module has by now."""
        end_averages(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Consolidate sharded checkpoints into single files, which a single device can load."""
        if trainer.is_global_zero:
            consolidate_shards(Path(trainer.default_root_dir))
        trainer.strategy.barrier()


def find_csv_loggers(trainer: Trainer) -> list[MetricsCSVLogger]:
    """Return the loggers of a trainer that write metrics.csv."""
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsCSVLogger)]


def continue_loggers(trainer: Trainer, step: int) -> None:
    """Let each logger that has a method `continue_at(step, rows)` contain the same as metrics.csv after a resume.

    Args:
        trainer: The trainer, whose metrics.csv ends at the checkpoint.
        step: The last step before the checkpoint: its training metrics were logged before the checkpoint, but its
            validation metrics possibly after it.
    """
    loggers: list[Any] = [logger for logger in trainer.loggers if callable(getattr(logger, "continue_at", None))]
    if not loggers or not trainer.is_global_zero:
        return
    rows = [row for logger in find_csv_loggers(trainer) for row in logger.read_metrics(step)]
    for logger in loggers:
        logger.continue_at(step, rows)


def preserve_fused_flags(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Copy `fused` and `foreach` of an optimizer's parameter groups into a state dict that it is about to load."""
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=False):
        saved.update({name: group[name] for name in ("fused", "foreach") if name in group})
