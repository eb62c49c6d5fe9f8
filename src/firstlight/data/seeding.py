"""Chance that can be repeated: a function of the run's seed, the epoch and the sample, of nothing that came before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# 32 bits of an int64: no product below leaves its range, so every device computes the same.
MASK_32 = 0xFFFF_FFFF
# 2**32 over the golden ratio: multiples of it are spread evenly.
GOLDEN_RATIO_32 = 0x9E37_79B9


def random_uniform(ids: Tensor, seed: int, epoch: int, count: int) -> Tensor:
    """Return numbers in [0, 1), `count` for each sample, float32 on the device of the ids, (count, batch).

    Args:
        ids: position of each sample in its split, (batch,) int64.
        seed: seed of the run.
        epoch: epoch, from 0.
        count: numbers per sample.
    """
    kinds = torch.arange(1, count + 1, device=ids.device).view(count, 1)
    numbers = hash32(hash32(ids + derive_seed(seed, epoch)) + kinds * GOLDEN_RATIO_32)
    # 24 bits: as many as a float32 holds without rounding up to 1.
    return (numbers >> 8).float() / 2**24


@contextmanager
def make_seeded_generator(seed: int, epoch: int, sample: int) -> Iterator[None]:
    """Seed torch's generator of the CPU by run, epoch and sample, and put it back afterwards."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(derive_seed(seed, epoch, sample))
    try:
        yield
    finally:
        generator.set_state(before)


def derive_seed(*numbers: int) -> int:
    """Return one seed of several numbers, 0 to 2**32 - 1; near ones give seeds that are far from each other."""
    seed = 0
    for number in numbers:
        seed = hash32(seed + number + GOLDEN_RATIO_32)
    return seed


def hash32(numbers: Any) -> Any:
    """Return 32-bit numbers, an int or a tensor, so that a bit of the input changes half the bits of the output.

    Source: T. Mueller's integer hash, two rounds of xor-shift and multiplication by 0x45d9f3b.
    """
    numbers = numbers & MASK_32
    for _ in range(2):
        numbers = ((numbers >> 16) ^ numbers) * 0x045D_9F3B & MASK_32
    return (numbers >> 16) ^ numbers
