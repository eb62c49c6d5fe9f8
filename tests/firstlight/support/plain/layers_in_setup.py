import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class LayersInSetup(L.LightningModule):
    def setup(self, stage):
        self.net = nn.Linear(3, 1)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=4)

    def test_dataloader(self):
        return self.train_dataloader()

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).square().mean()

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.net(batch[0]).square().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1])]
