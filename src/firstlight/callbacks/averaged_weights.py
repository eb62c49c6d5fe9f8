"""Averaged weights: what Lightning 2.6's callbacks need, so that their averages are tested and resumed."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging


def find_averaging(trainer: Any) -> list[WeightAveraging]:
    """Return the callbacks that keep an average of the weights in a second model."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]
    return [callback for callback in found if callback._average_model is not None]


def swap_averaged_weights(trainer: Any, module: LightningModule) -> None:
    """Swap the weights that are trained back into the module, which has the average during a validation."""
    for callback in find_averaging(trainer):
        callback._swap_models(module)


@torch.no_grad()
def start_averages(trainer: Any, module: LightningModule) -> None:
    """Replace values without an average by the current ones, before the averages are validated or saved.

    Without any update, these are the initial weights (Lightning issue 21724). Buffers of integers, such as positions,
    are never averaged: they would be rounded.
    """
    for callback in find_averaging(trainer):
        average: Any = callback._average_model
        # The number is on the device, so that this waits for it, once per validation.
        if not average.n_averaged:
            average.module.load_state_dict(module.state_dict())
        for averaged, current in zip(average.module.buffers(), module.buffers(), strict=True):
            if not averaged.is_floating_point():
                averaged.copy_(current)


def transfer_stochastic_average(trainer: Any, module: LightningModule) -> bool:
    """Copy the final average of StochasticWeightAveraging into the module; return True if there is one.

    Lightning does so too, but not in a run that resumes after its last step.
    """
    callbacks = [callback for callback in trainer.callbacks if isinstance(callback, StochasticWeightAveraging)]
    for callback in callbacks:
        if callback.n_averaged is None and callback._scheduler_state is not None:
            restore_schedule(callback, trainer, module)
        num_averaged = 0 if callback.n_averaged is None else int(callback.n_averaged)
        if num_averaged and callback._average_model is not None and trainer.current_epoch > callback.swa_end:
            callback.transfer_weights(callback._average_model, module)
            return True
    return False


def end_averages(trainer: Any) -> None:
    """Forget the averages after the training: otherwise, loading a checkpoint to test it loads the trained weights."""
    for callback in find_averaging(trainer):
        callback._average_model = None


def restore_stochastic_averaging(trainer: Any, module: LightningModule) -> None:
    """Set up StochasticWeightAveraging again in a run that resumes after its start.

    Lightning 2.6 does so at the start of the next epoch, which also changes the learning rates, and not at all during
    the last epoch, in which it only updates the statistics of batch norms.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, StochasticWeightAveraging) and callback._scheduler_state is not None:
            restore_schedule(callback, trainer, module)
            if trainer.fit_loop.restarted_mid_epoch and trainer.current_epoch == callback.swa_end + 1:
                buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
                callback.on_train_epoch_start(trainer, module)
                module.load_state_dict(buffers, strict=False)


def restore_schedule(callback: StochasticWeightAveraging, trainer: Any, module: LightningModule) -> None:
    """Build the scheduler of the averaging, which is part of the callback, and keep the restored learning rates."""
    progress, groups = trainer.fit_loop.epoch_progress.current, trainer.optimizers[0].param_groups
    saved = [{name: value for name, value in group.items() if name != "params"} for group in groups]
    # The first epoch of the averaging, but nothing to average.
    epoch, progress.completed = progress.completed, callback.swa_start
    latest, callback._latest_update_epoch = callback._latest_update_epoch, progress.completed
    callback.on_train_epoch_start(trainer, module)
    progress.completed, callback._latest_update_epoch = epoch, latest
    for group, values in zip(groups, saved, strict=True):
        group.update(values)
