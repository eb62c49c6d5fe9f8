"""What a benchmark adds to a Trainer: a stopwatch, a learning rate of zero, and restored weights."""

import time
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from firstlight.hardware.device import get_peak_memory_gib, reset_peak_memory, synchronize


@dataclass
class Timing:
    """Duration and peak memory of a number of steps."""

    seconds: float
    peak_memory_gib: float


class Stopwatch(Callback):
    """Time the steps after a warm-up; the device is synchronized before and after them.

    Args:
        device: Device of the model.
        warmup: Number of steps before the timed ones.
        steps: Number of timed steps.
    """

    def __init__(self, device: torch.device, warmup: int, steps: int) -> None:
        self.device = device
        self.first = warmup
        self.last = warmup + steps - 1
        # None: the loop has ended before its last step.
        self.timing: Timing | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Reset the peak memory. The warm-up is included: memory peaks while CUDA graphs are recorded."""
        reset_peak_memory(self.device)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start the clock at the first timed batch."""
        if batch_idx == self.first:
            synchronize(self.device)
            self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock at the last timed batch."""
        if batch_idx == self.last and self.timing is None:
            synchronize(self.device)
            self.timing = Timing(time.perf_counter() - self.started, get_peak_memory_gib(self.device))

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the clock at the first timed batch."""
        self.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop the clock at the last timed batch."""
        self.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the clock at the first timed batch, unless this is the validation of a training run."""
        if not is_fitting(trainer):
            self.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop the clock at the last timed batch, unless this is the validation of a training run."""
        if not is_fitting(trainer):
            self.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the clock at the first timed batch."""
        self.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop the clock at the last timed batch."""
        self.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


def is_fitting(trainer: Any) -> bool:
    """Return True if the trainer runs `fit`, whose validation follows the timed steps."""
    return bool(trainer.state.fn == "fit")


class ZeroLearningRate(Callback):
    """Set the learning rate to zero before each optimizer step: the same kernels run, and no weight changes.

    A scheduler sets its own learning rate after each step, so that setting it once would not be enough.
    """

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Set the learning rate of each parameter group to zero."""
        set_zero_lr(optimizer)


def set_zero_lr(optimizer: Optimizer) -> None:
    """Set the learning rate of each parameter group to zero."""
    for group in optimizer.param_groups:
        if isinstance(group.get("lr"), Tensor):
            group["lr"].zero_()
        elif "lr" in group:
            group["lr"] = 0.0


class WeightSnapshot:
    """A copy of the weights and buffers of a module, from which each measurement starts.

    Args:
        model: The module. Weights that it builds later are not copied.
    """

    def __init__(self, model: LightningModule) -> None:
        tensors = chain(model.named_parameters(), model.named_buffers())
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors if not is_lazy(tensor)}

    @torch.no_grad()
    def restore(self, model: LightningModule) -> None:
        """Restore the weights and buffers in place, and drop the gradients."""
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if name in self.tensors and not is_lazy(tensor):
                tensor.copy_(self.tensors[name])
        model.zero_grad(set_to_none=True)


def skip_saving(*args: Any, **kwargs: Any) -> None:
    """Do nothing, in place of `Trainer.save_checkpoint`: checkpoints are saved after the timed steps."""
