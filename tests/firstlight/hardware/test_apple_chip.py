"""The chip of a Mac and its defaults, with made-up chips and versions of torch."""

import subprocess
import sys

import pytest
import torch
from torch.torch_version import TorchVersion

from firstlight.hardware import apple_chip
from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from doctor_facts import MachineInfo

GENERATIONS = {
    "Apple M1": 1,
    "Apple M1 (Virtual)": 1,
    "Apple M2 Ultra": 2,
    "Apple M3 Max": 3,
    "Apple M4 Pro": 4,
    "Apple M5": 5,
    "Apple M5 Max": 5,
    "Apple M6 Pro": 6,
    "Apple M12": 12,
    "Apple processor": None,
    "Intel(R) Core(TM) M3-7Y32 CPU @ 1.10GHz": None,
    "": None,
}


@pytest.mark.parametrize(("chip", "generation"), GENERATIONS.items())
def test_generation_is_the_same_as_in_doctor(chip, generation):
    assert apple_chip.parse_generation(chip) == generation
    assert MachineInfo("macOS", "26.4", chip, "arm64", 0).generation == generation


@pytest.mark.parametrize("chip", GENERATIONS)
@pytest.mark.parametrize(
    ("version", "has_fast_layout"),
    [("2.11.0", False), ("2.13.1", False), ("2.14.1", False), ("2.15.0", True), ("2.16.1+cpu", True)],
)
def test_only_chips_with_published_results_have_other_defaults(chip, version, has_fast_layout, monkeypatch):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: chip)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))

    is_m5 = "M5" in chip
    assert apple_chip.get_mps_defaults() == {
        "precision": "bf16-mixed" if is_m5 else "32-true",
        "channels_last": is_m5 and has_fast_layout,
    }


@pytest.fixture
def mac_path(tmp_path, monkeypatch):
    """Return the only directory on the PATH of a pretended Mac."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("26.4", ("", "", ""), "arm64"))
    apple_chip.get_chip_name.cache_clear()
    yield tmp_path
    apple_chip.get_chip_name.cache_clear()


def test_chip_and_macos_are_described(mac_path):
    (mac_path / "sysctl").write_text("#!/bin/sh\necho Apple M5 Pro\n")
    (mac_path / "sysctl").chmod(0o755)

    assert apple_chip.describe_mac() == "Apple M5 Pro, macOS 26.4"


def test_mac_without_sysctl_uses_the_safe_values(mac_path):
    assert apple_chip.describe_mac() == "macOS 26.4"
    assert apple_chip.get_mps_defaults() == {"precision": "32-true", "channels_last": False}


def test_mac_with_a_hanging_sysctl_uses_the_safe_values(mac_path, monkeypatch):
    def wait(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", wait)

    assert apple_chip.describe_mac() == "macOS 26.4"


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has a chip")
def test_other_machines_have_no_apple_chip():
    assert apple_chip.describe_mac() == ""
    assert apple_chip.parse_generation(apple_chip.get_chip_name()) is None
