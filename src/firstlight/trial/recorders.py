"""Callbacks that measure a few training steps: their speed, or their losses and gradients."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from firstlight.hardware.device import synchronize

# Steps before the timed ones: on an accelerator, kernels are selected and CUDA graphs recorded in them.
WARMUP_STEPS = {"cpu": 1, "cuda": 6, "mps": 6}
NUM_SEGMENTS = 3
# Of 16-mixed. torch starts with 2^16, with which the first gradients overflow, and their steps are skipped.
INITIAL_LOSS_SCALE = 2.0**10


class RepeatedBatches:
    """A data loader that yields the same batches again and again.

    Args:
        batches: The batches.
        length: Number of batches of an epoch.
    """

    def __init__(self, batches: list[Any], length: int) -> None:
        self.batches = batches
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(itertools.cycle(self.batches), self.length)


class StopAfterSteps(Callback):
    """Stop the training after a number of batches.

    Args:
        num_steps: Number of batches.
    """

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop at the last batch."""
        trainer.should_stop = trainer.should_stop or batch_idx + 1 >= self.num_steps


class StepTimer(Callback):
    """Time the steps after a warm-up, in three segments, and stop the training. The weights do not change.

    Args:
        device: Device of the model.
        min_seconds: Minimum duration of the three segments together, but at least one step each.

    Attributes:
        seconds_per_step: Duration of a step in the fastest segment; 0 before the end.
        startup_s: Duration until the first timed step, with compilation.
    """

    def __init__(self, device: torch.device, min_seconds: float) -> None:
        self.device = device
        self.warmup = WARMUP_STEPS[device.type]
        self.min_seconds = min_seconds
        self.seconds_per_step = self.startup_s = 0.0
        self.num_steps = self.segment_steps = 0
        self.segments: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Set the learning rates to zero, so that repeated batches cannot make the weights diverge."""
        self.started = time.perf_counter()
        scale_learning_rates(trainer, 0.0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure a segment at its last step."""
        self.num_steps += 1
        step = self.num_steps - self.warmup
        if step == 0:
            self._restart()
            self.startup_s = self.segment_started - self.started
        elif step == 1:  # one step shows how many steps a segment needs
            seconds = max(self._restart(), 1e-6)
            self.segment_steps = max(round(self.min_seconds / NUM_SEGMENTS / seconds), 1)
        elif step > 1 and (step - 1) % self.segment_steps == 0:
            self.segments.append(self._restart() / self.segment_steps)
        if len(self.segments) == NUM_SEGMENTS:
            self.seconds_per_step = min(self.segments)
            trainer.should_stop = True

    def _restart(self) -> float:
        synchronize(self.device)
        now = time.perf_counter()
        elapsed = now - getattr(self, "segment_started", now)
        self.segment_started = now
        return elapsed


class StepRecorder(Callback):
    """Record loss and gradient norm of each step, and how far the weights have moved.

    The random number generators are seeded before each step, so that a second run with another `seed` shows how much
    the results depend on the random numbers of the model alone.

    Args:
        num_steps: Number of steps.
        seed: Seed of the steps.
        lr_factor: Factor of the learning rates.

    Attributes:
        losses: Loss of each step; empty if the module returns none.
        gradient_norms: Norm of all gradients before each optimizer step, before clipping.
        update_norm: Norm of the change of all weights.
    """

    def __init__(self, num_steps: int, seed: int, lr_factor: float) -> None:
        self.num_steps = num_steps
        self.seed = seed
        self.lr_factor = lr_factor
        self.losses: list[float] = []
        self.gradient_norms: list[float] = []
        self.update_norm = 0.0

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Keep the initial weights, and reduce the learning rates."""
        self.before = [param.detach().clone() for param in pl_module.parameters()]
        if (scaler := getattr(trainer.precision_plugin, "scaler", None)) is not None:
            scaler._init_scale = INITIAL_LOSS_SCALE
        scale_learning_rates(trainer, self.lr_factor)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        torch.manual_seed(self.seed * 1_000 + batch_idx)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Record the norm of the gradients."""
        gradients = [param.grad for group in optimizer.param_groups for param in group["params"]]
        norms = [torch.linalg.vector_norm(gradient.float()) for gradient in gradients if gradient is not None]
        norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        self.gradient_norms.append(norm / get_loss_scale(trainer, optimizer))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the loss, and after the last step the change of the weights."""
        torch.manual_seed(batch_idx)  # the next batch is augmented in the same way for each `seed`
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self.losses.append(float(loss))
        if batch_idx + 1 == self.num_steps:
            pairs = zip(pl_module.parameters(), self.before, strict=True)
            changes = [torch.linalg.vector_norm(param.detach().float() - before.float()) for param, before in pairs]
            self.update_norm = float(torch.linalg.vector_norm(torch.stack(changes))) if changes else 0.0
            trainer.should_stop = True


def scale_learning_rates(trainer: Any, factor: float) -> None:
    """Multiply the learning rates of all optimizers, and switch their schedules off."""
    if trainer.lightning_module.automatic_optimization:
        trainer.strategy.lr_scheduler_configs = []
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor


def get_loss_scale(trainer: Any, optimizer: Any) -> float:
    """Return the factor of 16-mixed that the gradients of an optimizer still contain: a fused step removes it itself.

    Lightning 2.6 unscales the gradients of any other optimizer before its hook.
    """
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
    is_scaled = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
    return float(scaler.get_scale()) if is_scaled else 1.0
