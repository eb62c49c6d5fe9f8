"""A module with dataloaders and callbacks of its own: ModelCheckpoint and EarlyStopping."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SelfContained(L.LightningModule):
    def __init__(self, activation: type[nn.Module] | None = None, patience: int = 3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, 8), (activation or nn.ReLU)(), nn.Dropout(0.2), nn.Linear(8, 1))
        self.patience = patience

    def configure_callbacks(self):
        best = ModelCheckpoint(monitor="valid_accuracy", mode="max", filename="top-{epoch}", save_top_k=2)
        return [best, EarlyStopping("valid_accuracy", mode="max", patience=self.patience)]

    def _dataset(self, count, seed):
        x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
        return TensorDataset(x, (x[:, :1] > 0).float())

    def train_dataloader(self):
        return DataLoader(self._dataset(32, 0), batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self._dataset(16, 1), batch_size=8)

    def test_dataloader(self):
        return DataLoader(self._dataset(16, 2), batch_size=8)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("valid_accuracy", ((self.net(x) > 0) == y.bool()).float().mean(), sync_dist=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_accuracy", ((self.net(x) > 0) == y.bool()).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)
