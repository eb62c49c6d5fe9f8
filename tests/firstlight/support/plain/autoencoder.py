"""An autoencoder that logs train_loss and val_loss, on random images of a datamodule with random_split."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class Autoencoder(L.LightningModule):
    def __init__(self, latent_dim=4, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, latent_dim), nn.ReLU(), nn.Dropout(0.1))
        self.decoder = nn.Linear(latent_dim, 64)
        self.example_input_array = torch.zeros(2, 1, 8, 8)

    def forward(self, images):
        return self.decoder(self.encoder(images)).view_as(images)

    def training_step(self, batch, batch_idx):
        images, _ = batch
        loss = F.mse_loss(self(images), images)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, _ = batch
        self.log("val_loss", F.mse_loss(self(images), images), sync_dist=True)

    def test_step(self, batch, batch_idx):
        images, _ = batch
        self.log("test_loss", F.mse_loss(self(images), images), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class ImagesDataModule(L.LightningDataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        generator = torch.Generator().manual_seed(1)
        full = TensorDataset(torch.rand(64, 1, 8, 8, generator=generator), torch.arange(64) % 10)
        self.train_set, self.val_set, self.test_set = random_split(full, [44, 10, 10], generator=generator)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.hparams.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.hparams.batch_size)

    def predict_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.hparams.batch_size)
