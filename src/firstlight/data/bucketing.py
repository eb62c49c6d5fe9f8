"""Texts of about the same length into the same batch: less padding, and still a random order."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import RandomSampler

# Batches whose texts are sorted together. More would spare little padding and make the order less random.
POOL = 50


class LengthGroups(RandomSampler):
    """A new order of the samples in each epoch; each batch_size of them in a row make a batch.

    An order, and a RandomSampler, because Lightning knows how to replace those: by no shuffling under
    `overfit_batches`, by a DistributedSampler, which does not group, on several devices.

    Source of the idea: V. Khomenko et al., Accelerating recurrent neural network training using sequence bucketing
    and multi-GPU data parallelization, 2016, arXiv:1708.05604; of pools of batches: `group_by_length` of
    transformers' Trainer.
    """

    def __init__(self, lengths: Tensor, batch_size: int) -> None:
        """Keep the length of each sample, shape (samples,), and the samples per batch."""
        super().__init__(lengths)
        self.lengths = lengths
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[int]:
        # As RandomSampler draws its own: the seed of the run decides.
        seed = int(torch.empty((), dtype=torch.int64).random_().item())
        yield from grouped(self.lengths, self.batch_size, seed).tolist()


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
