"""What a device is, how much memory it used, and how fast it multiplies."""

import functools
import gc
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from firstlight.hardware.mps_watermarks import HIGH


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


def get_peak_memory_gib(device: torch.device) -> float:
    """Return the most memory used since the reset, in GiB: of the device, or of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    if device.type == "mps":
        # MPS keeps no peak: this is what the driver holds now, cached blocks included.
        return torch.mps.driver_allocated_memory() / GIB
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (GIB if sys.platform == "darwin" else 2**20)


def measure_matmul_flops(device: torch.device, precision: str, size: int | None = None, repeats: int = 5) -> float:
    """Return the floating-point operations per second of a large matrix product.

    Args:
        device: where to multiply.
        precision: Lightning's name; half precision multiplies in it, 32 bits as torch's matmul precision says.
        size: rows of the square matrices; None takes 8192, and 2048 on the CPU.
        repeats: the fastest of so many counts.
    """
    size = size or (2048 if device.type == "cpu" else 8192)
    names = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    left, right = torch.randn(2, size, size, device=device, dtype=names.get(precision.partition("-")[0])).unbind()
    fastest = float("inf")
    for _ in range(repeats + 1):  # the first chooses a kernel
        synchronize(device)
        started = time.perf_counter()
        left @ right
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest


@functools.cache
def get_device_name(device: torch.device) -> str:
    """Return the name of a device as its maker writes it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=10)
        return asked.stdout.strip() or platform.processor()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def count_available_cpus() -> int:
    """Return the number of CPU cores that this process may use, a container's limit included."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    limit, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    return here if limit == "max" else max(min(here, round(int(limit) / int(period))), 1)


def get_memory_gib(device: torch.device) -> float:
    """Return the memory of a device in GiB; that of the machine for the CPU and for MPS, which shares it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / GIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def get_free_memory_gib(device: torch.device) -> float:
    """Return the memory that a training could take now, in GiB; on a Mac what MPS lends."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    if device.type == "mps" and (lent := get_local_mps_limit()):
        return lent / GIB
    info = Path("/proc/meminfo")
    if info.is_file():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) / 2**20
    return get_memory_gib(device)


def get_default_cpu_precision() -> str:
    """Return bf16-mixed for a CPU that multiplies bfloat16 matrices in hardware (Intel's AMX), else 32-true."""
    # Any other CPU emulates bfloat16. With AMX: VGG16 2.2, MiniLM 1.3, ResNet50 at 224 px 1.9 times as fast as in
    # 32-true, though ResNet50 at 32 px only 0.85 times.
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"


def release_memory() -> None:
    """Give back what a failed job held, so that the next one of a sweep can have it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()


GIB = 2**30


def get_local_mps_limit() -> float | None:
    """Return the bytes that MPS lends here: a ratio of what macOS recommends; None without MPS or limit."""
    ratio = float(os.environ.get(HIGH, 1.0)) if torch.backends.mps.is_available() else 0.0
    return ratio * torch.mps.recommended_max_memory() if ratio else None
