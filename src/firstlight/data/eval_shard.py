"""The part of an evaluation split that one of several devices evaluates."""

import math
from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset, default_collate

from firstlight.data.batch import IGNORE_INDEX, Batch, to_index_tensor


# DistributedSampler also repeats samples, but its repeated samples count, so that the metrics are not exact.
class EvalShard(Dataset[Any]):
    """Evaluation shard of one rank, padded so that all ranks have the same number of samples.

    Padding repeats samples. They get the label `IGNORE_INDEX` and the ID -1, and are excluded from the metrics.

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
                batch[name] = batch[name].masked_fill(is_padding.to(batch[name].device), value)
        return batch
