"""Properties of a device: name, memory, number of CPU cores and matmul throughput."""

import functools
import gc
import os
import platform
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from firstlight.hardware.apple_chip import get_chip_name, get_mps_defaults
from firstlight.hardware.mps_watermarks import HIGH

GIB = 2**30
# Limits of a container or a batch job, and the smallest number that version 1 of control groups uses for "no limit".
CGROUP_DIR, NO_LIMIT_BYTES = Path("/sys/fs/cgroup"), 2**60


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory to the current usage, if the system supports it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return  # a container may forbid it; the peak then covers the lifetime of the process


def get_peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory since the last reset in GiB: device memory, or the memory of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    if device.type == "mps":
        # MPS does not track a peak. This is the memory that the driver holds now, including cached blocks.
        return torch.mps.driver_allocated_memory() / GIB
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (GIB if sys.platform == "darwin" else 2**20)


def measure_matmul_flops(device: torch.device, precision: str, size: int | None = None, repeats: int = 5) -> float:
    """Return the measured throughput of a large matmul in FLOP/s.

    Args:
        device: Device to measure.
        precision: Lightning's name. Half precisions multiply in that dtype, 32 bits with torch's matmul precision.
        size: Side of the square matrices. If None, 8192 (2048 on the CPU).
        repeats: Number of repetitions; the fastest is used.
    """
    size = size or (2048 if device.type == "cpu" else 8192)
    names = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    left, right = torch.randn(2, size, size, device=device, dtype=names.get(precision.partition("-")[0])).unbind()
    fastest = float("inf")
    for _ in range(repeats + 1):  # the first one selects a kernel
        synchronize(device)
        started = time.perf_counter()
        left @ right
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest


@functools.cache
def get_device_name(device: torch.device) -> str:
    """Return the product name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "darwin":
        return get_chip_name() or platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def count_available_cpus() -> int:
    """Return the number of CPU cores that this process may use, which a container may limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    limit, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    return cores if limit == "max" else max(min(cores, round(int(limit) / int(period))), 1)


def get_memory_gib(device: torch.device) -> float:
    """Return the total memory of a device in GiB; for the CPU and MPS, the memory of the machine or the container."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / GIB
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    limits = read_container_memory_gib()
    return min(machine, limits[0]) if limits else machine


def read_container_memory_gib(root: Path = CGROUP_DIR) -> tuple[float, float] | None:
    """Return the memory limit of the container or the batch job, and what is free of it, in GiB; None without a limit.

    Args:
        root: Directory of the control groups, version 2 or 1.
    """
    for limit_name, used_name, stat_name in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with suppress(OSError, ValueError, KeyError):
            limit, used = (int((root / name).read_text()) for name in (limit_name, used_name))
            if limit >= NO_LIMIT_BYTES:
                continue
            stat = dict(line.split() for line in (root / stat_name).read_text().splitlines())
            # The system frees the file cache before it kills a process.
            cache = int(stat.get("inactive_file", stat.get("total_inactive_file", 0)))
            return limit / GIB, max(limit - used + cache, 0) / GIB
    return None


def get_free_memory_gib(device: torch.device) -> float:
    """Return the memory in GiB that a run could use now; for MPS, its memory limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    if device.type == "mps" and (limit := get_local_mps_limit()):
        return limit / GIB
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) / 2**20
        limits = read_container_memory_gib()
        return min(available, limits[1]) if limits else available
    return get_memory_gib(device)


def get_default_cpu_precision() -> str:
    """Return bf16-mixed if the CPU multiplies bfloat16 matrices in hardware (Intel AMX), else 32-true."""
    # Other CPUs emulate bfloat16. With AMX, the throughput relative to 32-true is 2.2x for VGG16, 1.3x for MiniLM and
    # 1.9x for ResNet50 at 224 px, but only 0.85x for ResNet50 at 32 px.
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"


def get_chip_defaults(accelerator: str) -> dict[str, str | bool]:
    """Return the trainer settings of an accelerator that depend on its chip: `auto` in its file of configs/trainer/."""
    if accelerator == "mps":
        return get_mps_defaults()
    return {"precision": get_default_cpu_precision()} if accelerator == "cpu" else {}


def release_memory() -> None:
    """Release the memory of a failed job, so that the next job of a sweep can use it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def get_local_mps_limit() -> float | None:
    """Return the memory limit of MPS in bytes, a ratio of macOS's recommended maximum; None without MPS or limit."""
    ratio = float(os.environ.get(HIGH, 1.0)) if torch.backends.mps.is_available() else 0.0
    return ratio * torch.mps.recommended_max_memory() if ratio else None
