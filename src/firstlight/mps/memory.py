"""Estimate the memory of a step as a function of its batch size, and the largest batch size for a Mac."""

from dataclasses import dataclass

from firstlight.hardware.device import GIB

# Memory sizes of Macs in GB, by which Apple means GiB.
MAC_SIZES_GB = (8, 16, 24, 32, 64, 128)
# Maximum fraction of the memory that macOS wires for the GPU: two thirds up to 32 GB, three quarters above.
GPU_FRACTION, GPU_FRACTION_LARGE, LARGE_MAC_GB = 2 / 3, 3 / 4, 32
# Fraction of that memory reserved for what the estimate does not include: MPSGraph workspaces, rounding in heaps,
# cached blocks. An assumption, not a measurement.
HEADROOM = 0.25


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a step in bytes: linear in the batch size, but never less than the peak of the optimizer step.

    Attributes:
        fixed: Bytes that do not depend on the batch size.
        per_sample: Bytes per sample of a batch.
        optimizer_step: Peak of the optimizer step in bytes.
    """

    fixed: float
    per_sample: float
    optimizer_step: int

    def get_peak_bytes(self, batch_size: int) -> float:
        """Return the peak memory for a batch size, in bytes."""
        return max(self.fixed + self.per_sample * batch_size, self.optimizer_step)

    def find_max_batch_size(self, available: float) -> int:
        """Return the largest batch size that fits into the available bytes, or 0 if none does."""
        if self.get_peak_bytes(1) > available:
            return 0
        return int((available - self.fixed) / max(self.per_sample, 1))


def format_batch_size_advice(estimate: MemoryEstimate, available: float) -> str:
    """Return the fix for a batch size that does not fit into the available bytes."""
    max_batch_size = estimate.find_max_batch_size(available)
    return f"Set data.batch_size to {max_batch_size} or less." if max_batch_size else "Use a smaller model or input."


def get_usable_bytes(memory_gb: float) -> float:
    """Return the bytes that a run may use on a Mac with this much memory."""
    fraction = GPU_FRACTION if memory_gb <= LARGE_MAC_GB else GPU_FRACTION_LARGE
    return memory_gb * GIB * fraction * (1 - HEADROOM)
