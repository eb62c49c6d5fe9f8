"""Linear warm-up and cosine decay."""

import itertools

import pytest
import torch

from firstlight.model.lr_scheduler import WarmupCosineLR
from firstlight.run.errors import ConfigError


def list_lrs(total_steps: int, warmup_fraction: float) -> list[float]:
    """Return the learning rate before each step and after the last one."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = WarmupCosineLR(optimizer, total_steps, warmup_fraction)
    lrs = []
    for _ in range(total_steps):
        lrs.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*lrs, scheduler.get_last_lr()[0]]


def test_learning_rate_rises_to_peak_and_decays_to_zero():
    lrs = list_lrs(total_steps=20, warmup_fraction=0.2)

    assert lrs[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert lrs[12] == pytest.approx(1.0)
    assert lrs[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(lrs[4:]))


def test_without_warmup_first_learning_rate_is_peak():
    assert list_lrs(total_steps=4, warmup_fraction=0.0)[0] == 2.0


def test_warmup_fraction_of_one_or_more_is_rejected():
    message = "Invalid value for scheduler.warmup_fraction: expected a number of at least 0 and less than 1, got 2"

    with pytest.raises(ConfigError, match=message):
        list_lrs(total_steps=4, warmup_fraction=2)
