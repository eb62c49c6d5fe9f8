"""What is told about a device."""

import mmap
import platform

import pytest
import torch

from firstlight.hardware import device

CPU = torch.device("cpu")


def test_memory_and_cores_are_plausible():
    assert device.count_available_cpus() >= 1
    assert device.get_memory_gib(CPU) > 0.5
    assert 0 < device.get_free_memory_gib(CPU) <= device.get_memory_gib(CPU)
    assert device.get_device_name(CPU)


def filled(mebibytes: int) -> mmap.mmap:
    """Return memory fresh from the system: what a tensor gets may be left over from an earlier one."""
    memory = mmap.mmap(-1, mebibytes * 2**20)
    for _ in range(mebibytes):
        memory.write(bytes(2**20))
    return memory


def test_the_peak_grows_by_what_is_allocated():
    device.reset_peak_memory(CPU)
    before = device.get_peak_memory_gib(CPU)
    with filled(200):
        assert device.get_peak_memory_gib(CPU) - before == pytest.approx(200 / 1024, abs=0.05)


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux can reset the peak")
def test_a_reset_forgets_what_was_freed():
    with filled(300):
        peak = device.get_peak_memory_gib(CPU)
    device.reset_peak_memory(CPU)

    assert device.get_peak_memory_gib(CPU) < peak - 0.2


def test_a_matrix_product_has_a_speed():
    assert 1e8 < device.measure_matmul_flops(CPU, "32-true", size=256) < 1e14
    assert device.measure_matmul_flops(CPU, "bf16-mixed", size=128) > 0
