"""Chance that can be repeated: a function of the run's seed, the epoch and the sample, of nothing that came before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# 32 bits of an int64: no product below leaves its range, so every device computes the same.
MASK = 0xFFFF_FFFF
# 2**32 over the golden ratio: multiples of it are spread evenly.
GOLDEN = 0x9E37_79B9


def chances(ids: Tensor, seed: int, epoch: int, count: int) -> Tensor:
    """Return numbers in [0, 1), `count` for each sample, float32 on the device of the ids, (count, batch).

    Args:
        ids: position of each sample in its split, (batch,) int64.
        seed: seed of the run.
        epoch: epoch, from 0.
        count: numbers per sample.
    """
    kinds = torch.arange(1, count + 1, device=ids.device).view(count, 1)
    numbers = mixed(mixed(ids + seed_of(seed, epoch)) + kinds * GOLDEN)
    # 24 bits: as many as a float32 holds without rounding up to 1.
    return (numbers >> 8).float() / 2**24


@contextmanager
def seeded(seed: int, epoch: int, sample: int) -> Iterator[None]:
    """Seed torch's generator of the CPU by run, epoch and sample, and put it back afterwards."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed_of(seed, epoch, sample))
    try:
        yield
    finally:
        generator.set_state(before)


def seed_of(*numbers: int) -> int:
    """Return one seed of several numbers, 0 to 2**32 - 1; near ones give seeds that are far from each other."""
    seed = 0
    for number in numbers:
        seed = mixed(seed + number + GOLDEN)
    return seed


def mixed(numbers: Any) -> Any:
    """Return 32-bit numbers, an int or a tensor, so that a bit of the input changes half the bits of the output.

    Source: T. Mueller's integer hash, two rounds of xor-shift and multiplication by 0x45d9f3b.
    """
    numbers = numbers & MASK
    for _ in range(2):
        numbers = ((numbers >> 16) ^ numbers) * 0x045D_9F3B & MASK
    return (numbers >> 16) ^ numbers
