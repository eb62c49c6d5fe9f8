"""Properties of a device: memory, CPU cores, name and matmul throughput."""

import mmap
import platform
import sys

import pytest
import torch

from firstlight.hardware import device
from firstlight.hardware.device import GIB, read_container_memory_gib

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


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # Version 2: 4 GiB, of which 3 are used, 2 of them by the file cache.
        (
            {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 5\ninactive_file {2 * GIB}"},
            (4.0, 3.0),
        ),
        ({"memory.max": "max", "memory.current": GIB, "memory.stat": ""}, None),
        # Version 1, and its number for "no limit".
        (
            {
                "memory/memory.limit_in_bytes": 2 * GIB,
                "memory/memory.usage_in_bytes": GIB,
                "memory/memory.stat": f"total_inactive_file {GIB // 2}",
            },
            (2.0, 1.5),
        ),
        ({"memory/memory.limit_in_bytes": 0x7FFFFFFFFFFFF000, "memory/memory.usage_in_bytes": GIB}, None),
        ({"memory.max": GIB, "memory.current": 2 * GIB, "memory.stat": "anon 5"}, (1.0, 0.0)),  # lowered later
        ({}, None),
    ],
)
def test_memory_limit_of_a_container(tmp_path, files, expected):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")

    assert read_container_memory_gib(tmp_path) == expected


def test_free_memory_is_at_most_the_free_memory_of_the_container(monkeypatch):
    monkeypatch.setattr(device, "read_container_memory_gib", lambda: (0.5, 0.25))

    assert device.get_memory_gib(torch.device("cpu")) == 0.5
    assert sys.platform != "linux" or device.get_free_memory_gib(torch.device("cpu")) == 0.25
