"""The order in which training reads its samples: a function of seed and epoch that can start at any batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from firstlight.data.seeding import derive_seed

# Batches whose texts are sorted together. More would spare little padding and make the order less random.
BATCHES_PER_POOL = 50


# A function of seed and epoch has no state to save, unlike torchdata's StatefulDataLoader, and the number of DataLoader
# workers may change when a run resumes. Without either, Lightning 2.6 repeated 17 of 64 samples after a resume in
# mid-epoch. DistributedSampler would repeat samples to make all shards equal; here a step takes the samples that it
# would take on a single device.
class ResumableSampler(Sampler[int], ABC):
    """All samples once in each epoch, in an order of that epoch; each batch_size of them in a row make a batch.

    Several devices divide each step among them: the step takes the samples that one device would with batches of
    `batch_size * devices`. A remainder that they cannot divide evenly is left out of the epoch.

    Args:
        samples: number of samples.
        batch_size: samples of a step on each device.
        seed: that of the run.
        rank: number of this device.
        devices: how many there are.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, rank: int = 0, devices: int = 1) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.devices = rank, devices
        self.epoch = 0
        self.first_batch = 0

    @property
    def global_batch_size(self) -> int:
        """Samples of a step on all devices."""
        return self.batch_size * self.devices

    @abstractmethod
    def make_permutation(self, seed: int) -> Tensor:
        """Return the position of each sample in the order that a seed gives, shape (samples,)."""

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch, from its start; Lightning calls this before each."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def set_position(self, epoch: int, first_batch: int) -> None:
        """Start inside an epoch, as a training does that goes on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        # Of the whole epoch: what was done before a restart counts as done.
        steps, rest = divmod(self.samples, self.global_batch_size)
        return steps * self.batch_size + rest // self.devices

    def __iter__(self) -> Iterator[int]:
        positions = self.make_permutation(derive_seed(self.seed, self.epoch))[
            self.first_batch * self.global_batch_size :
        ]
        whole = len(positions) // self.global_batch_size * self.global_batch_size
        own = positions[:whole].view(-1, self.devices, self.batch_size)[:, self.rank].flatten()
        rest = (len(positions) - whole) // self.devices
        return iter([*own.tolist(), *positions[whole + self.rank * rest :][:rest].tolist()])


class ShuffleSampler(ResumableSampler):
    """A random order."""

    def make_permutation(self, seed: int) -> Tensor:
        """Return a permutation."""
        return torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed))


# A sampler, not a batch sampler: under `overfit_batches` Lightning 2.6 takes a batch sampler for an unshuffled loader,
# and it cannot rebuild one of another class for several devices.
class LengthGroupedSampler(ResumableSampler):
    """A random order in which the texts of a batch have about the same length: less padding.

    Source of the idea: V. Khomenko et al., Accelerating recurrent neural network training using sequence bucketing
    and multi-GPU data parallelization, 2016, arXiv:1708.05604; of pools of batches: `group_by_length` of
    transformers' Trainer.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int, rank: int = 0, devices: int = 1) -> None:
        """Keep the length of each sample, shape (samples,); the others as in `Order`."""
        super().__init__(len(lengths), batch_size, seed, rank, devices)
        self.lengths = lengths

    def make_permutation(self, seed: int) -> Tensor:
        """Return a permutation, that of `grouped`."""
        return group_by_length(self.lengths, self.global_batch_size, seed)


def group_by_length(lengths: Tensor, batch_size: int, seed: int) -> Tensor:
    """Return all positions in a random order in which the samples of a batch have similar lengths.

    Args:
        lengths: length of each sample, shape (samples,). Samples of equal length stay in random order.
        batch_size: samples per batch. Those that fill no batch are chosen at random and come last.
        seed: decides the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator)
    whole = len(order) // batch_size * batch_size
    pools = torch.split(order[:whole], BATCHES_PER_POOL * batch_size)
    batches = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools]).view(-1, batch_size)
    batches = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([batches.flatten(), order[whole:]])
