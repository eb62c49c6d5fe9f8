"""Segmentation with dictionary batches, a random transform per sample, and torchmetrics objects."""

import random

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex


class ShapesDataset(Dataset):
    """Bright squares on a dark background; training images are flipped and shaded at random."""

    def __init__(self, length, augment):
        self.length = length
        self.augment = augment

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        mask = torch.zeros(8, 8, dtype=torch.long)
        row, column = index % 5, index // 5 % 5
        mask[row : row + 3, column : column + 3] = 1
        image = mask.float() + 0.1 * torch.rand(8, 8)
        if self.augment:
            if random.random() < 0.5:
                image, mask = image.flip(-1), mask.flip(-1)
            image = image * float(np.random.uniform(0.5, 1.0))  # noqa: NPY002
        return {"image": image.unsqueeze(0), "mask": mask, "name": f"shape_{index}"}


class ShapesDataModule(pl.LightningDataModule):
    def __init__(self, batch_size: int = 4, num_workers: int = 0):
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers

    def setup(self, stage=None):
        self.train, self.val, self.test = ShapesDataset(20, True), ShapesDataset(9, False), ShapesDataset(7, False)

    def _loader(self, dataset, shuffle=False):
        return DataLoader(dataset, self.batch_size, shuffle=shuffle, num_workers=self.num_workers)

    def train_dataloader(self):
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self):
        return self._loader(self.val)

    def test_dataloader(self):
        return self._loader(self.test)


class Segmenter(pl.LightningModule):
    def __init__(self, net: nn.Module, loss: nn.Module, lr: float = 0.01):
        super().__init__()
        self.net = net
        self.loss = loss
        self.lr = lr
        metrics = MetricCollection({"iou": MulticlassJaccardIndex(2), "acc": MulticlassAccuracy(2)})
        self.val_metrics = metrics.clone("val/")
        self.test_metrics = metrics.clone("test/")

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch):
        loss = self.loss(self(batch["image"]), batch["mask"])
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(batch["mask"]))
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        logits = self(batch["image"])
        self.val_metrics.update(logits, batch["mask"])
        self.log_dict(self.val_metrics, batch_size=len(logits))

    def test_step(self, batch, batch_idx):
        logits = self(batch["image"])
        self.test_metrics.update(logits, batch["mask"])
        self.log_dict(self.test_metrics, batch_size=len(logits))

    def predict_step(self, batch, batch_idx):
        return {"name": batch["name"], "mask": self(batch["image"]).argmax(1)}
