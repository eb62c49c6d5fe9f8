"""Tabular regression with a plateau schedule; the datamodule tells the number of features in its metadata."""

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class TabularDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size
        self.num_setups = 0

    def setup(self, stage: str):
        if stage not in ("fit", "test"):
            raise ValueError(f"unexpected stage {stage}")
        self.num_setups += 1
        rng = np.random.default_rng(0)
        x = rng.normal(size=(80, 3)).astype(np.float32)
        y = x @ np.array([1.0, -2.0, 0.5], dtype=np.float32)
        order = np.random.permutation(80)  # noqa: NPY002 - another split in each call, as in many projects
        self.splits = [TensorDataset(torch.tensor(x[i]), torch.tensor(y[i])) for i in np.split(order, [48, 64])]

    @property
    def metadata(self):
        return {"num_features": 3}

    def train_dataloader(self):
        return DataLoader(self.splits[0], batch_size=self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.splits[1], batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.splits[2], batch_size=self.batch_size)


class TabularRegressor(L.LightningModule):
    def __init__(self, num_features: int, hidden: int = 8, lr: float = 0.05):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, 1))
        self.lr = lr

    def forward(self, x):
        return self.net(x).squeeze(-1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.mse_loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.mse_loss(self(x), y), sync_dist=True)
        self.log("valMAE", F.l1_loss(self(x), y), sync_dist=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("testMAE", F.l1_loss(self(x), y), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}
