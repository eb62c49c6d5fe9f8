"""A module with a callback that is also a part of it, and a test that writes a file."""

from pathlib import Path

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader


class CountingCallback(nn.Module, L.Callback):
    """A callback that is also a part of the module, as in anomalib."""

    def __init__(self):
        super().__init__()
        self.register_buffer("num_batches", torch.zeros(()))

    def on_train_batch_end(self, *args):
        self.num_batches += 1


class ModuleWithCallback(L.LightningModule):
    """A module whose callback is a submodule, and which writes a file in its test."""

    def __init__(self):
        super().__init__()
        self.layer, self.counter = nn.Linear(2, 1), CountingCallback()

    def configure_callbacks(self):
        return [self.counter]

    def train_dataloader(self):
        return DataLoader(torch.ones(6, 2), batch_size=2)

    test_dataloader = train_dataloader

    def training_step(self, batch):
        return self.layer(batch).mean()

    def test_step(self, batch, batch_idx):
        Path(self.trainer.default_root_dir, "table.txt").write_text("written by the test")
        self.log("test/mean", self.layer(batch).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
