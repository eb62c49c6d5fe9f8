"""Samplers of training data: their order is a function of seed and epoch, and they can start at any batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, SequentialSampler

from firstlight.data.seeding import derive_seed

# Number of batches whose texts are sorted together. A larger pool saves little padding and makes the order less random.
BATCHES_PER_POOL = 50


# A function of seed and epoch has no state to save, unlike torchdata's StatefulDataLoader, and the number of DataLoader
# workers may change when a run resumes. Without either, Lightning 2.6 repeated 17 of 64 samples after a resume inside
# an epoch. DistributedSampler would repeat samples to make all shards equal; here, a step takes the samples that it
# would take on a single device.
class ResumableSampler(DistributedSampler[int], ABC):
    """Yield the sample indices of this rank. The order is a function of seed and epoch and can start at any batch.

    In each step, all ranks together take the samples that a single device would take with the batch size
    `batch_size * world_size`. A remainder that is not divisible by the number of ranks is dropped. It is a
    DistributedSampler, so that Lightning does not shard the samples again.

    Args:
        num_samples: Number of samples.
        batch_size: Samples per step and device.
        seed: Seed of the run.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_batch = 0

    @property
    def global_batch_size(self) -> int:
        """Samples per step on all devices."""
        return self.batch_size * self.world_size

    @abstractmethod
    def make_permutation(self, seed: int) -> Tensor:
        """Return all sample indices in the order of a seed, shape (samples,) int64."""

    def set_epoch(self, epoch: int) -> None:
        """Start another epoch at its first batch. Lightning calls this before each epoch."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def set_position(self, epoch: int, first_batch: int) -> None:
        """Start inside an epoch, for a resumed run."""
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        # The length of the complete epoch: batches before a restart count as done.
        steps, remainder = divmod(self.num_samples, self.global_batch_size)
        return steps * self.batch_size + remainder // self.world_size

    def __iter__(self) -> Iterator[int]:
        permutation = self.make_permutation(derive_seed(self.seed, self.epoch))
        indices = permutation[self.first_batch * self.global_batch_size :]
        num_full = len(indices) // self.global_batch_size * self.global_batch_size
        shard = indices[:num_full].view(-1, self.world_size, self.batch_size)[:, self.rank].flatten()
        num_last = (len(indices) - num_full) // self.world_size
        last = indices[num_full + self.rank * num_last :][:num_last]
        return iter([*shard.tolist(), *last.tolist()])


class ShuffleSampler(ResumableSampler):
    """Yield the samples in random order."""

    def make_permutation(self, seed: int) -> Tensor:
        """Return a random permutation."""
        return torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(seed))


class BalancedSampler(ResumableSampler):
    """Yield as many samples as the dataset has, each class equally often, in random order.

    Samples of rare classes are repeated, each of them equally often up to one time. Of frequent classes, an epoch has
    only a part, which differs from epoch to epoch.

    Args:
        labels: Class index of each sample, shape (samples,).
        batch_size: Samples per step and device.
        seed: Seed of the run.
        rank: Rank of this device.
        world_size: Number of devices.
        lengths: If given, the texts of a batch have similar lengths. See `LengthGroupedSampler`.
    """

    def __init__(
        self,
        labels: Tensor,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        lengths: Tensor | None = None,
    ) -> None:
        super().__init__(len(labels), batch_size, seed, rank, world_size)
        self.labels = labels.cpu()
        self.lengths = lengths

    def make_permutation(self, seed: int) -> Tensor:
        """Return sample indices, of each class the same number or one more."""
        generator = torch.Generator().manual_seed(seed)
        classes: Tensor = self.labels.unique()  # type: ignore[no-untyped-call]
        classes = classes[torch.randperm(len(classes), generator=generator)]
        drawn = []
        for position, label in enumerate(classes):
            members = (self.labels == label).nonzero().flatten()
            count = len(range(position, self.num_samples, len(classes)))
            rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-count // len(members)))]
            drawn.append(members[torch.cat(rounds)[:count]])
        indices = torch.cat(drawn)[torch.randperm(self.num_samples, generator=generator)]
        if self.lengths is None:
            return indices
        return indices[group_by_length(self.lengths[indices], self.global_batch_size, seed)]


class SequentialResumableSampler(ResumableSampler):
    """Yield the samples in the order of the dataset."""

    def make_permutation(self, seed: int) -> Tensor:
        """Return the indices in ascending order."""
        return torch.arange(self.num_samples)


# A SequentialSampler, because Lightning 2.6 replaces any other sampler with `overfit_batches`.
class OverfitSampler(SequentialResumableSampler, SequentialSampler):
    """Yield the samples in the order of the dataset. Each epoch counts as the first, also for the augmentation."""

    def set_epoch(self, epoch: int) -> None:
        """Start at the first batch again."""
        self.first_batch = 0

    def set_position(self, epoch: int, first_batch: int) -> None:
        """Start inside an epoch, for a resumed run."""
        self.first_batch = first_batch


# A sampler, not a batch sampler: with `overfit_batches`, Lightning 2.6 treats a batch sampler as an unshuffled loader,
# and it cannot rebuild a custom one for several devices.
class LengthGroupedSampler(ResumableSampler):
    """Yield the samples in a random order in which the texts of a batch have similar lengths, to reduce padding.

    Source of the idea: V. Khomenko et al., Accelerating recurrent neural network training using sequence bucketing
    and multi-GPU data parallelization, 2016, arXiv:1708.05604. Pools of batches: `group_by_length` of transformers'
    Trainer.

    Args:
        lengths: Length of each sample, shape (samples,).
        batch_size: Samples per step and device.
        seed: Seed of the run.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(len(lengths), batch_size, seed, rank, world_size)
        self.lengths = lengths

    def make_permutation(self, seed: int) -> Tensor:
        """Return the permutation of `group_by_length`."""
        return group_by_length(self.lengths, self.global_batch_size, seed)


def group_by_length(lengths: Tensor, batch_size: int, seed: int) -> Tensor:
    """Return all sample indices in a random order in which the samples of a batch have similar lengths.

    Args:
        lengths: Length of each sample, shape (samples,). Samples of equal length stay in random order.
        batch_size: Samples per batch. An incomplete last batch consists of random samples.
        seed: Seed of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    permutation = torch.randperm(len(lengths), generator=generator)
    num_full = len(permutation) // batch_size * batch_size
    pools = torch.split(permutation[:num_full], BATCHES_PER_POOL * batch_size)
    batches = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools]).view(-1, batch_size)
    batches = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([batches.flatten(), permutation[num_full:]])
