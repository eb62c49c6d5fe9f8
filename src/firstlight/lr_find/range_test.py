"""The schedule of a learning-rate range test, and the losses that it records."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.tuner import lr_finder
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class RangeTestLR(LRScheduler):
    """Increase the learning rate exponentially; each parameter group has a constant multiple of it.

    Smith 2017 (Cyclical Learning Rates for Training Neural Networks), section 3.3, with an exponential range.

    Args:
        optimizer: The optimizer.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last step.
        num_steps: Number of optimizer steps.
        ratios: Learning rate of each group relative to the learning rate that is tested.
    """

    def __init__(self, optimizer: Optimizer, min_lr: float, max_lr: float, num_steps: int, ratios: list[float]) -> None:
        self.min_lr, self.max_lr, self.num_steps, self.ratios = min_lr, max_lr, num_steps, ratios
        super().__init__(optimizer)

    @property
    def lr(self) -> list[float]:
        """The tested learning rate of this step. Lightning records the first element."""
        fraction = self.last_epoch / (self.num_steps - 1)
        return [self.min_lr * (self.max_lr / self.min_lr) ** fraction]

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rate of each group."""
        return [self.lr[0] * ratio for ratio in self.ratios]


class LossRecorder(lr_finder._LRCallback):
    """Record the loss of each optimizer step, and its exponential moving average without bias, and stop on divergence.

    In Lightning 2.6, the correction of the bias is one step ahead: the first average is half of the loss, and so is the
    minimum with which later losses are compared. A loss that is not finite does not stop the training there.

    Args:
        num_training: Number of optimizer steps.
        early_stop_threshold: Stop when the average exceeds this multiple of its minimum. If None, never.
        progress_bar_refresh_rate: 0: no progress bar.
        raw_losses: Receives the loss of each step.
    """

    def __init__(
        self,
        num_training: int,
        early_stop_threshold: float | None,
        progress_bar_refresh_rate: int,
        raw_losses: list[float],
    ) -> None:
        super().__init__(num_training, early_stop_threshold, progress_bar_refresh_rate)
        self.raw_losses = raw_losses
        self.num_losses = 0

    def _is_step(self, trainer: Trainer) -> bool:
        """Return True at the last batch of an optimizer step; the last one of an epoch may accumulate fewer."""
        loop = trainer.fit_loop
        return (
            not (loop.batch_idx + 1) % trainer.accumulate_grad_batches or loop.epoch_loop.batch_progress.is_last_batch
        )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Record the learning rate of an optimizer step."""
        if not self._is_step(trainer):
            return
        if self.progress_bar_refresh_rate and self.progress_bar is None:
            self.progress_bar = vars(lr_finder)["tqdm"](desc="Finding best initial lr", total=self.num_training)
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        self.lrs.append(scheduler.lr[0])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss at the last batch of an optimizer step."""
        if not self._is_step(trainer):
            return
        if self.progress_bar is not None:
            self.progress_bar.update()
        if not outputs:  # training_step has returned None, which skips the batch
            self.raw_losses.append(math.nan)
            self.losses.append(self.losses[-1] if self.losses else math.nan)
            return
        loss = float(outputs["loss"])
        self.raw_losses.append(loss)
        self.num_losses += 1
        self.avg_loss = self.beta * self.avg_loss + (1 - self.beta) * loss
        self.losses.append(self.avg_loss / (1 - self.beta**self.num_losses))
        # A negative minimum, as of a log-likelihood, has no multiple to compare with.
        minimum, factor = min(self.losses), self.early_stop_threshold
        if not math.isfinite(loss) or (factor is not None and self.losses[-1] > factor * minimum > 0):
            trainer.should_stop = True
