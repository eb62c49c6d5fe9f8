"""The warm-up and the cosine."""

import itertools

import pytest
import torch

from firstlight.model.lr_scheduler import WarmupCosineLR


def rates(total: int, warmup: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosineLR(optimizer, total, warmup)
    seen = []
    for _ in range(total):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return [*seen, schedule.get_last_lr()[0]]


def test_it_rises_to_the_rate_and_falls_to_zero():
    seen = rates(total=20, warmup=0.2)

    assert seen[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert seen[12] == pytest.approx(1.0)
    assert seen[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(seen[4:]))


def test_without_warm_up_it_starts_at_the_rate():
    assert rates(total=4, warmup=0.0)[0] == 2.0


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="warmup_fraction is a share of the steps, 0 to below 1, but it is 2"):
        rates(total=4, warmup=2)
