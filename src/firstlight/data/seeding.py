"""Reproducible random numbers: functions of the run's seed, the epoch and the sample, without any state."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

# 32 bits of an int64: no product below overflows, so every device computes the same numbers.
MASK_32 = 0xFFFF_FFFF
# 2**32 divided by the golden ratio: its multiples are evenly distributed.
GOLDEN_RATIO_32 = 0x9E37_79B9


def random_uniform(ids: Tensor, seed: int, epoch: int, count: int) -> Tensor:
    """Return uniform random numbers in [0, 1), determined by seed, epoch and sample ID.

    Args:
        ids: Index of each sample in its split, (batch,) int64.
        seed: Seed of the run.
        epoch: Epoch, from 0.
        count: Numbers per sample.

    Returns:
        Shape (count, batch) float32, on the device of `ids`.
    """
    streams = torch.arange(1, count + 1, device=ids.device).view(count, 1)
    numbers = hash32(hash32(ids + derive_seed(seed, epoch)) + streams * GOLDEN_RATIO_32)
    # 24 bits, the most that float32 holds without rounding up to 1.
    return (numbers >> 8).float() / 2**24


@contextmanager
def fork_seeded_rng(seed: int, epoch: int, sample: int) -> Iterator[None]:
    """Seed torch's CPU generator from run, epoch and sample, and restore its state on exit."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(derive_seed(seed, epoch, sample))
    try:
        yield
    finally:
        generator.set_state(state)


@contextmanager
def fork_seeded_rngs(*numbers: int) -> Iterator[None]:
    """Seed the CPU generators of Python, NumPy and torch from several numbers, and restore their states on exit."""
    seed = derive_seed(*numbers)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global generator
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class SeededAugmentation(Dataset[Any]):
    """Base class of datasets whose augmentation is a function of the run's seed, the epoch and the index.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # In shared memory: DataLoader workers live for many epochs.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the augmentation, in all DataLoader workers."""
        self.epoch.fill_(epoch)

    def fork_rng(self, index: int) -> AbstractContextManager[None]:
        """Seed torch's CPU generator from run, epoch and index, and restore its state on exit."""
        return fork_seeded_rng(self.seed, int(self.epoch), int(index))


def derive_seed(*numbers: int) -> int:
    """Return one seed, 0 to 2**32 - 1, for several numbers. Similar numbers give unrelated seeds."""
    seed = 0
    for number in numbers:
        seed = hash32(seed + number + GOLDEN_RATIO_32)
    return seed


def hash32(numbers: Any) -> Any:
    """Apply a 32-bit integer hash to an int or a tensor: each input bit changes half of the output bits.

    Source: T. Mueller's integer hash, two rounds of xor-shift and multiplication by 0x45d9f3b.
    """
    numbers = numbers & MASK_32
    for _ in range(2):
        numbers = ((numbers >> 16) ^ numbers) * 0x045D_9F3B & MASK_32
    return (numbers >> 16) ^ numbers
