"""Tests of the memory estimate and of the memory that a Mac provides."""

import pytest

from firstlight.hardware.device import GIB
from firstlight.mps.memory import MemoryEstimate, get_usable_bytes


def test_peak_is_maximum_of_batch_and_optimizer_step():
    estimate = MemoryEstimate(fixed=100, per_sample=10, optimizer_step=150)

    assert estimate.get_peak_bytes(1) == estimate.get_peak_bytes(5) == 150
    assert estimate.get_peak_bytes(10) == 200
    assert estimate.find_max_batch_size(209) == 10
    assert estimate.find_max_batch_size(149) == 0


def test_usable_fraction_is_larger_on_large_macs():
    # Two thirds or three quarters of the memory, minus the headroom of a quarter.
    assert get_usable_bytes(16) == pytest.approx(8 * GIB)
    assert get_usable_bytes(64) == pytest.approx(36 * GIB)
