"""What a step takes decides on which Mac it fits."""

import pytest

from firstlight.hardware.device import GIB
from firstlight.mps.memory import Need, usable


def test_a_step_takes_what_its_batch_or_the_optimizer_takes():
    need = Need(fixed=100, per_sample=10, optimizer_step=150)

    assert need.at(1) == need.at(5) == 150
    assert need.at(10) == 200
    assert need.largest(209) == 10
    assert need.largest(149) == 0


def test_a_large_mac_lends_more_of_its_memory():
    # Two thirds, or three quarters, less a quarter for what is not modelled.
    assert usable(16) == pytest.approx(8 * GIB)
    assert usable(64) == pytest.approx(36 * GIB)
