"""Properties of a device: memory, CPU cores, name and matmul throughput."""

import mmap
import platform

import pytest
import torch

from firstlight.hardware import device

CPU = torch.device("cpu")


def test_memory_and_cpu_count_are_plausible():
    assert device.count_available_cpus() >= 1
    assert device.get_memory_gib(CPU) > 0.5
    assert 0 < device.get_free_memory_gib(CPU) <= device.get_memory_gib(CPU)
    assert device.get_device_name(CPU)


def allocate(size_mib: int) -> mmap.mmap:
    """Allocate new memory from the system; a tensor might reuse memory of an earlier one."""
    memory = mmap.mmap(-1, size_mib * 2**20)
    for _ in range(size_mib):
        memory.write(bytes(2**20))
    return memory


def test_peak_grows_by_allocated_memory():
    device.reset_peak_memory(CPU)
    before = device.get_peak_memory_gib(CPU)
    with allocate(200):
        assert device.get_peak_memory_gib(CPU) - before == pytest.approx(200 / 1024, abs=0.05)


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux can reset the peak")
def test_reset_excludes_freed_memory():
    with allocate(300):
        peak = device.get_peak_memory_gib(CPU)
    device.reset_peak_memory(CPU)

    assert device.get_peak_memory_gib(CPU) < peak - 0.2


def test_matmul_flops_are_plausible():
    assert 1e8 < device.measure_matmul_flops(CPU, "32-true", size=256) < 1e14
    assert device.measure_matmul_flops(CPU, "bf16-mixed", size=128) > 0
