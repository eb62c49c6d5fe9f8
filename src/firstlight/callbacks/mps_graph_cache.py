"""Empty the graph cache of MPS after each epoch of a run whose batches vary in shape."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.data.batch import list_shapes

# Batches of equal samples have at most two shapes, because the last batch of an epoch may be smaller.
MAX_FIXED_SHAPES = 2


class EmptyMPSGraphCache(Callback):
    """Call `torch.mps.empty_cache` once after each epoch in which the training batches had more than two shapes.

    MPS keeps a compiled graph for every new shape, without a limit (pytorch#181213 reports 13 GB after 315 shapes).
    `empty_cache` also frees these graphs in torch 2.13 to 2.15 (pytorch#181485), and in older versions only unused
    memory. The next epoch compiles its graphs again, so that runs with equal batches keep theirs.
    """

    def __init__(self) -> None:
        self.shapes: set[tuple[torch.Size, ...]] = set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the shapes of the tensors of the batch."""
        self.shapes.add(list_shapes(batch))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Empty the cache if the shapes varied. Lightning has already validated the model."""
        if len(self.shapes) > MAX_FIXED_SHAPES:
            torch.mps.empty_cache()
        self.shapes.clear()
