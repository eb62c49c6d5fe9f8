"""What a step takes decides on which Mac it fits."""

import pytest

from firstlight.hardware.device import GIB
from firstlight.mps.memory import MemoryEstimate, get_usable_bytes


def test_a_step_takes_what_its_batch_or_the_optimizer_takes():
    need = MemoryEstimate(fixed=100, per_sample=10, optimizer_step=150)

    assert need.get_peak_bytes(1) == need.get_peak_bytes(5) == 150
    assert need.get_peak_bytes(10) == 200
    assert need.find_max_batch_size(209) == 10
    assert need.find_max_batch_size(149) == 0


def test_a_large_mac_lends_more_of_its_memory():
    # Two thirds, or three quarters, less a quarter for what is not modelled.
    assert get_usable_bytes(16) == pytest.approx(8 * GIB)
    assert get_usable_bytes(64) == pytest.approx(36 * GIB)
