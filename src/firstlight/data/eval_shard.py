"""The part of an evaluation split that one of several devices evaluates."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import BatchSampler, Dataset, DistributedSampler, default_collate

from firstlight.data.batch import IGNORE_INDEX, Batch, to_index_tensor


# DistributedSampler also repeats samples, but its repeated samples count, so that the metrics are not exact.
class EvalShard(Dataset[Any]):
    """Evaluation shard of one rank, padded so that all ranks have the same number of samples.

    Padding repeats samples at the end of the shard. They get the label `IGNORE_INDEX` and the ID -1, and are excluded
    from the metrics. A batch with padding has the further entry "num_padding", the number of these samples: a plain
    integer, which is known without waiting for the device.

    Args:
        dataset: All samples of the split.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(self, dataset: Dataset[Any], rank: int, world_size: int) -> None:
        self.dataset: Any = dataset
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.world_size)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        positions = to_index_tensor(indices) * self.world_size + self.rank
        wrapped = (positions % len(self.dataset)).tolist()
        if hasattr(self.dataset, "__getitems__"):
            batch: Batch = self.dataset.__getitems__(wrapped)
        else:
            batch = default_collate([self.dataset[index] for index in wrapped])
        is_padding = positions >= len(self.dataset)
        if is_padding.any():
            for name, value in {"labels": IGNORE_INDEX, "ids": -1}.items():
                mask = is_padding.to(batch[name].device, non_blocking=True).view(-1, *[1] * (batch[name].ndim - 1))
                batch[name] = batch[name].masked_fill(mask, value)
            batch["num_padding"] = int(is_padding.sum())
        return batch


# torch's DistributedSampler repeats samples so that all shards have the same size; the repeated samples count twice.
class EvalShardSampler(DistributedSampler[int]):
    """Yield the indices of one rank in ascending order: every `world_size`-th sample, none of them on two ranks.

    Args:
        num_samples: Number of samples of the split.
        rank: Rank of this device.
        world_size: Number of devices.
    """

    def __init__(self, num_samples: int, rank: int, world_size: int) -> None:
        self.num_samples = num_samples
        self.rank = rank
        self.world_size = world_size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the order is the same in each epoch."""

    def __len__(self) -> int:
        return len(range(self.rank, self.num_samples, self.world_size))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.num_samples, self.world_size))


class EvalShardBatchSampler(BatchSampler):
    """Divide a shard into the same number of batches on all ranks, although shards may differ by one sample.

    Ranks with different numbers of batches would wait for each other in collective operations.

    Args:
        sampler: The shard of this rank, with at least one sample.
        batch_size: Maximum number of samples per batch.
    """

    def __init__(self, sampler: EvalShardSampler, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        self.shard = sampler

    def __len__(self) -> int:
        largest_shard = math.ceil(self.shard.num_samples / self.shard.world_size)
        return math.ceil(largest_shard / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        indices = list(self.shard)
        for number in range(len(self), 0, -1):
            # At least one sample remains for each further batch.
            size = min(self.batch_size, len(indices) - (number - 1))
            # With a batch size of 1, a smaller shard has one batch too few: its first sample is repeated.
            yield indices[:size] if size > 0 else indices[:1] or [self.shard.rank]
            indices = indices[max(size, 0) :]
