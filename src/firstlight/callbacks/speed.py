"""Measure samples per second and peak memory, without slowing the steps down."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

# The first steps compile kernels and fill caches: they measure the compiler, not the model.
WARMUP_STEPS = 3


class Speed(Callback):
    """Log "speed/samples_per_s" and "speed/peak_memory_gib" once per epoch."""

    def __init__(self) -> None:
        """Set the clock to zero."""
        self.steps = self.samples = self.skip = 0
        self.seconds = 0.0
        self.started = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring memory anew: another job of the process may have used more."""
        reset_peak_memory(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch."""
        self.steps = self.samples = 0
        self.seconds = 0.0
        self.started = time.perf_counter()
        self.skip = WARMUP_STEPS if trainer.num_training_batches > 2 * WARMUP_STEPS else 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples; the clock starts after the warm-up."""
        self.steps += 1
        if self.steps > self.skip:
            self.samples += len(batch["ids"])
        elif self.steps == self.skip:
            synchronize(pl_module.device)
            self.started = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock during validation."""
        synchronize(pl_module.device)
        self.seconds += time.perf_counter() - self.started

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures of the epoch."""
        synchronize(pl_module.device)
        seconds = self.seconds + time.perf_counter() - self.started
        pl_module.log("speed/samples_per_s", self.samples / max(seconds, 1e-9))
        pl_module.log("speed/peak_memory_gib", peak_memory_gib(pl_module.device))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Set the peak to what is in use now, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return  # a container may forbid it: then the peak is the process's


def peak_memory_gib(device: torch.device) -> float:
    """Return the most memory used since the reset, in GiB: of the device, or of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if device.type == "mps":
        # MPS keeps no peak: this is what the driver holds now, cached blocks included.
        return torch.mps.driver_allocated_memory() / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
