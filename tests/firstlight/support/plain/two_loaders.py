"""Two validation and two test dataloaders; the schedule monitors a metric of one of them."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TwoLoadersDataModule(L.LightningDataModule):
    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(60, 4, generator=generator)
        self.sets = [TensorDataset(part, (part.sum(1) > 0).long()) for part in x.split([40, 12, 8])]

    def train_dataloader(self):
        return DataLoader(self.sets[0], batch_size=8, shuffle=True)

    def val_dataloader(self):
        return [DataLoader(self.sets[1], batch_size=8), DataLoader(self.sets[2], batch_size=8)]

    def test_dataloader(self):
        return self.val_dataloader()


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen = []

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def _evaluate(self, batch, name):
        logits = self.layer(batch[0])
        self.log(f"{name}_loss", nn.functional.cross_entropy(logits, batch[1]), sync_dist=True)
        self.log(f"{name}_acc", (logits.argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self._evaluate(batch, "val")

    def test_step(self, batch, batch_idx, dataloader_idx):
        self._evaluate(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)
