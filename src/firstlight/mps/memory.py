"""How much memory a step takes by its batch size, and on which Mac it fits."""

from dataclasses import dataclass

from firstlight.hardware.device import GIB

# Memory of Macs in GB, which Apple counts as GiB.
MAC_SIZES_GB = (8, 16, 24, 32, 64, 128)
# macOS wires so much of the memory to the GPU at most: two thirds up to 32 GB, three quarters above.
GPU_FRACTION, GPU_FRACTION_LARGE, LARGE_MAC_GB = 2 / 3, 3 / 4, 32
# Of that, what is not modelled: MPSGraph's workspaces, rounding in heaps, cached blocks. A judgement, not measured.
HEADROOM = 0.25


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a step in bytes: what a batch takes grows with it, but never falls below the optimizer's step."""

    fixed: float
    per_sample: float
    optimizer_step: int

    def get_peak_bytes(self, batch_size: int) -> float:
        """Return the peak for a batch size."""
        return max(self.fixed + self.per_sample * batch_size, self.optimizer_step)

    def find_max_batch_size(self, available: float) -> int:
        """Return the largest batch size that fits into so many bytes; 0 if none does."""
        if self.get_peak_bytes(1) > available:
            return 0
        return int((available - self.fixed) / max(self.per_sample, 1))


def format_batch_size_advice(need: MemoryEstimate, available: float) -> str:
    """Return what to do about a training that does not fit into so many bytes."""
    largest = need.find_max_batch_size(available)
    return f"give data.batch_size={largest} or less" if largest else "take a smaller model or input"


def get_usable_bytes(memory_gb: float) -> float:
    """Return the bytes that a training may plan with on a Mac of so much memory."""
    return memory_gb * GIB * (GPU_FRACTION if memory_gb <= LARGE_MAC_GB else GPU_FRACTION_LARGE) * (1 - HEADROOM)
