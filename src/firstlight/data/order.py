"""The order in which training reads its samples: a function of seed and epoch that can start at any batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from firstlight.data.chance import seed_of

# Batches whose texts are sorted together. More would spare little padding and make the order less random.
POOL = 50


class Order(Sampler[int], ABC):
    """All samples once in each epoch, in an order of that epoch; each batch_size of them in a row make a batch."""

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        """Keep the number of samples, the samples per batch and the seed of the run, and start with the first epoch."""
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.first_batch = 0

    @abstractmethod
    def positions(self, seed: int) -> Tensor:
        """Return the position of each sample in the order that a seed gives, shape (samples,)."""

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch, from its start; Lightning calls this before each."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def start(self, epoch: int, first_batch: int) -> None:
        """Start inside an epoch, as a training does that goes on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        # Of the whole epoch: what was done before a restart counts as done.
        return self.samples

    def __iter__(self) -> Iterator[int]:
        positions = self.positions(seed_of(self.seed, self.epoch))
        return iter(positions[self.first_batch * self.batch_size :].tolist())


class Shuffled(Order):
    """A random order."""

    def positions(self, seed: int) -> Tensor:
        """Return a permutation."""
        return torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed))


class LengthGroups(Order):
    """A random order in which the texts of a batch have about the same length: less padding.

    Source of the idea: V. Khomenko et al., Accelerating recurrent neural network training using sequence bucketing
    and multi-GPU data parallelization, 2016, arXiv:1708.05604; of pools of batches: `group_by_length` of
    transformers' Trainer.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int) -> None:
        """Keep the length of each sample, shape (samples,); the others as in `Order`."""
        super().__init__(len(lengths), batch_size, seed)
        self.lengths = lengths

    def positions(self, seed: int) -> Tensor:
        """Return a permutation, that of `grouped`."""
        return grouped(self.lengths, self.batch_size, seed)


def grouped(lengths: Tensor, batch_size: int, seed: int) -> Tensor:
    """Return all positions in a random order in which the samples of a batch have similar lengths.

    Args:
        lengths: length of each sample, shape (samples,). Samples of equal length stay in random order.
        batch_size: samples per batch. Those that fill no batch are chosen at random and come last.
        seed: decides the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator)
    whole = len(order) // batch_size * batch_size
    pools = torch.split(order[:whole], POOL * batch_size)
    batches = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools]).view(-1, batch_size)
    batches = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([batches.flatten(), order[whole:]])
