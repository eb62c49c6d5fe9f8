"""The number of training steps: batches after which the optimizers stepped, however many optimizers there are."""

from typing import Any

from lightning.pytorch.callbacks import GradientAccumulationScheduler


def get_log_step(trainer: Any) -> int:
    """Return the step at which Lightning logs the metrics of the current batch, from 0."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def count_steps(trainer: Any) -> int:
    """Return the number of steps so far, including the current one if its optimizers have stepped.

    `trainer.global_step` counts each step of each optimizer: several per batch with several optimizers.
    """
    if trainer.lightning_module.automatic_optimization:
        return int(trainer.global_step)  # Lightning supports one optimizer here
    loop = trainer.fit_loop.epoch_loop
    progress = loop.batch_progress.current
    # Lightning counts a step after its validation, and after `on_train_batch_end`.
    is_pending = trainer.validating or progress.completed < progress.ready == progress.processed
    return int(loop._batches_that_stepped) + (is_pending and not loop._should_accumulate())


def find_accumulation(trainer: Any) -> GradientAccumulationScheduler | None:
    """Return the callback that sets the number of accumulated batches of each epoch, or None."""
    found = [callback for callback in trainer.callbacks if isinstance(callback, GradientAccumulationScheduler)]
    return found[0] if found else None


def list_accumulated_batches(trainer: Any) -> list[int]:
    """Return the numbers of batches per optimizer step that occur in a run, in the order of its epochs."""
    schedule = find_accumulation(trainer)
    if schedule is None:
        return [trainer.accumulate_grad_batches]
    return [schedule.scheduling[epoch] for epoch in schedule.epochs]
