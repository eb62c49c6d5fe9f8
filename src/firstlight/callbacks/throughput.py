"""Measure throughput, data loading time, memory and hardware utilization without slowing down the steps."""

import time
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.data.batch import count_samples
from firstlight.hardware.device import get_peak_memory_gib, measure_matmul_flops, reset_peak_memory, synchronize
from firstlight.model.flops import count_flops_per_sample
from firstlight.model.task import Task
from firstlight.run.optional import continue_on_failure
from firstlight.trainer.steps import get_log_step

# The first steps compile kernels and fill caches, so they are not measured.
WARMUP_STEPS = 3


@dataclass
class TimeWindow:
    """A range of consecutive steps and their duration.

    Attributes:
        steps: Number of batches.
        samples: Number of samples on all devices; None: unknown.
        seconds: Duration of the steps.
        data_wait_s: Part of `seconds` that the loop spent waiting for batches.
    """

    steps: int = 0
    samples: int | None = 0
    seconds: float = 0.0
    data_wait_s: float = 0.0

    def add(self, other: "TimeWindow") -> None:
        """Add the steps of another window."""
        self.steps += other.steps
        self.samples = None if self.samples is None or other.samples is None else self.samples + other.samples
        self.seconds += other.seconds
        self.data_wait_s += other.data_wait_s


class ThroughputMonitor(Callback):
    """Log throughput metrics every `log_every_n_steps` steps and once per epoch, under "speed/".

    The metrics are samples_per_s (steps_per_s, if the number of samples of a batch is unknown), step_ms,
    peak_memory_gib and data_wait_fraction, the fraction of the time spent waiting for data, from 0 to 1. On CUDA there
    is also mfu, model FLOPS utilization: the FLOP/s of the model relative to the measured FLOP/s of a large matmul on
    this device at the same precision. Chowdhery et al. (2022, appendix B) divide by the manufacturer's peak instead.

    The device is synchronized only at logging steps, where the loss is read anyway.
    """

    def __init__(self) -> None:
        self.window = TimeWindow()
        self.epoch = TimeWindow()
        self.skip = 0
        self.started = self.ended = time.perf_counter()
        # FLOPs per sample, forward and backward, and FLOP/s of all devices; 0: not measured.
        self.flops = self.peak_flops = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timer, and reset the peak memory: an earlier job of this process may have used more."""
        self._start_window()
        if pl_module.device.type == "cuda":
            self.peak_flops = measure_matmul_flops(pl_module.device, str(trainer.precision)) * trainer.world_size
        reset_peak_memory(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the totals of the epoch."""
        self.epoch = TimeWindow()
        self.skip = WARMUP_STEPS if trainer.num_training_batches > 2 * WARMUP_STEPS else 0
        self._start_window()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Add the time since the previous step to the data loading time; count the model's FLOPs once."""
        self.window.data_wait_s += time.perf_counter() - self.ended
        # FLOPs are counted on a copy of the model, and a sharded model cannot be copied.
        if self.peak_flops and not self.flops and pl_module._device_mesh is None and isinstance(pl_module, Task):
            with continue_on_failure("speed/mfu"):
                self.flops = count_flops_per_sample(pl_module, batch["inputs"])
            self.peak_flops = self.peak_flops if self.flops else 0.0  # no second attempt

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples; at a logging step, add the throughput metrics to the metrics of the step."""
        self.window.steps += 1
        count = count_samples(trainer, batch)
        self.window.add(TimeWindow(steps=0, samples=None if count is None else count * trainer.world_size))
        if batch_idx + 1 == self.skip:
            synchronize(pl_module.device)
            self._start_window()
        elif batch_idx >= self.skip and isinstance(pl_module, Task):
            # The task logs them with the metrics of the step.
            if pl_module.step_metrics:
                pl_module.step_metrics.update(self._compute_metrics(self._end_window(pl_module), pl_module))
        elif batch_idx >= self.skip and trainer._logger_connector.should_update_logs:
            metrics = self._compute_metrics(self._end_window(pl_module), pl_module)
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=get_log_step(trainer))
        self.ended = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the timer during validation."""
        self._end_window(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the timer."""
        self._start_window()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the epoch; a run resumed after the last step of an epoch has none."""
        self._end_window(pl_module)
        if self.epoch.steps:
            pl_module.log_dict(self._compute_metrics(self.epoch, pl_module))

    def _compute_metrics(self, window: TimeWindow, pl_module: LightningModule) -> dict[str, float]:
        """Return the metrics of a window by name."""
        seconds = max(window.seconds, 1e-9)
        if window.samples is None:
            rate = {"steps_per_s": window.steps / seconds}
        else:
            rate = {"samples_per_s": window.samples / seconds}
        metrics = {
            **rate,
            "step_ms": 1000 * seconds / max(window.steps, 1),
            "data_wait_fraction": window.data_wait_s / seconds,
            "peak_memory_gib": get_peak_memory_gib(pl_module.device),
        }
        if self.flops and window.samples is not None:
            metrics["mfu"] = rate["samples_per_s"] * self.flops / self.peak_flops
        return {f"speed/{name}": value for name, value in metrics.items()}

    def _end_window(self, pl_module: LightningModule) -> TimeWindow:
        """Add the steps since the last log to the epoch, start a new window, and return the old one."""
        synchronize(pl_module.device)
        window = self.window
        if window.steps:
            window.seconds = time.perf_counter() - self.started
            self.epoch.add(window)
        self._start_window()
        return window

    def _start_window(self) -> None:
        self.window = TimeWindow()
        self.started = self.ended = time.perf_counter()
