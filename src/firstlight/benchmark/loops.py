"""The loops that a benchmark times: a Trainer with a stopwatch, and the steps of a plain PyTorch loop."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback

from firstlight.data.batch import Batch
from firstlight.hardware.device import get_peak_memory_gib, reset_peak_memory, synchronize
from firstlight.model.task import Task
from firstlight.trainer.trainer import Trainer


@dataclass
class Timing:
    """Duration and peak memory of a number of steps."""

    seconds: float
    peak_memory_gib: float


class RepeatedBatchLoader:
    """A data loader that yields the same batch `length` times, so that data loading is not measured."""

    def __init__(self, batch: Batch, length: int) -> None:
        self.batch = batch
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.length):
            yield self.batch


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
        self.timing = Timing(0.0, 0.0)

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
        if batch_idx == self.last:
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


def make_train_step(model: Task, trainer: Trainer, batch: Batch) -> Callable[[], None]:
    """Return a function that runs one training step with the optimizer and precision of the trainer."""
    optimizer = model.build_optimizer(fused=model.should_fuse_optimizer(trainer.fused_optimizer))
    model.network.train()

    def step() -> None:
        with trainer.precision_plugin.forward_context():
            loss = model.loss(model(batch["inputs"]), batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def make_eval_step(model: Task, trainer: Trainer, batch: Batch) -> Callable[[], None]:
    """Return a function that runs one evaluation step, which is a forward pass, with the precision of the trainer."""
    model.network.eval()

    @torch.inference_mode()
    def step() -> None:
        with trainer.precision_plugin.forward_context():
            model(batch["inputs"])

    return step
