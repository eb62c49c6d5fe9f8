"""Words of trainings on the emulated device."""

import pytest

from support.choices import tiny

PRECISIONS = ["32-true", "bf16-mixed", "16-mixed", "bf16-true"]


def on_mps(model: str) -> list[str]:
    return [word for word in tiny(model) if word != "trainer=cpu"] + ["trainer=mps"]


def in_full(*values: str) -> object:
    """Return a case that .ci/run tries, and `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)
