"""Measure what training takes: time, waiting for data, memory, and the use of the device; without slowing the steps."""

import time
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.hardware.device import get_peak_memory_gib, measure_matmul_flops, reset_peak_memory, synchronize
from firstlight.model.flops import count_flops_per_sample

# The first steps compile kernels and fill caches: they measure the compiler, not the model.
WARMUP_STEPS = 3


@dataclass
class TimeWindow:
    """Steps in a row, and the seconds that they took."""

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    # Of those seconds, how long the loop waited for a batch.
    data_wait_s: float = 0.0

    def add(self, other: "TimeWindow") -> None:
        """Add the steps of another span."""
        self.steps += other.steps
        self.samples += other.samples
        self.seconds += other.seconds
        self.data_wait_s += other.data_wait_s


class ThroughputMonitor(Callback):
    """Log every n steps, and for each epoch, under "speed/": samples_per_s, step_ms, data_wait, peak_memory_gib.

    data_wait is the share of the time in which the loop waited for a batch, 0 to 1. On CUDA there is also mfu, the
    model's FLOP per second as a share of what a large matrix product reaches on this device at this precision (after
    Chowdhery et al. 2022, appendix B, who divide by the maker's figure).

    The device is waited for every n steps, when the loss is read anyway, and never in between.
    """

    def __init__(self) -> None:
        """Set the clock to zero."""
        self.span = TimeWindow()
        self.epoch = TimeWindow()
        self.skip = 0
        self.started = self.ended = time.perf_counter()
        # FLOP of a sample, forward and backward, and those of the device in a second; 0 where they are not measured.
        self.flops = self.peak = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and measure memory anew: another job of the process may have used more."""
        self._start_window()
        if pl_module.device.type == "cuda":
            self.peak = measure_matmul_flops(pl_module.device, str(trainer.precision)) * trainer.world_size
        reset_peak_memory(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch."""
        self.epoch = TimeWindow()
        self.skip = WARMUP_STEPS if trainer.num_training_batches > 2 * WARMUP_STEPS else 0
        self._start_window()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the wait for the batch."""
        self.span.data_wait_s += time.perf_counter() - self.ended
        # One that is spread over devices cannot be copied to count on.
        if self.peak and not self.flops and pl_module._device_mesh is None:
            self.flops = count_flops_per_sample(pl_module, batch["inputs"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples; add the figures to those of a step that is logged."""
        self.span.steps += 1
        self.span.samples += len(batch["ids"]) * trainer.world_size
        if batch_idx + 1 == self.skip:
            synchronize(pl_module.device)
            self._start_window()
        elif batch_idx >= self.skip and pl_module.step_metrics:
            pl_module.step_metrics.update(self._compute_metrics(self._end_window(pl_module), pl_module))  # type: ignore[operator, union-attr]
        self.ended = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock during validation."""
        self._end_window(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        self._start_window()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures of the epoch; a run that went on behind its last step has none."""
        self._end_window(pl_module)
        if self.epoch.steps:
            pl_module.log_dict(self._compute_metrics(self.epoch, pl_module))

    def _compute_metrics(self, span: TimeWindow, pl_module: LightningModule) -> dict[str, float]:
        """Return the figures of a span by name."""
        seconds = max(span.seconds, 1e-9)
        speed = span.samples / seconds
        found = {
            "samples_per_s": speed,
            "step_ms": 1000 * seconds / max(span.steps, 1),
            "data_wait": span.data_wait_s / seconds,
            "peak_memory_gib": get_peak_memory_gib(pl_module.device),
        }
        if self.flops:
            found["mfu"] = speed * self.flops / self.peak
        return {f"speed/{name}": value for name, value in found.items()}

    def _end_window(self, pl_module: LightningModule) -> TimeWindow:
        """Add what ran since the last log to the epoch, and return it."""
        synchronize(pl_module.device)
        span = self.span
        if span.steps:
            span.seconds = time.perf_counter() - self.started
            self.epoch.add(span)
        self._start_window()
        return span

    def _start_window(self) -> None:
        self.span = TimeWindow()
        self.started = self.ended = time.perf_counter()
