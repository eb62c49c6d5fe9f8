"""Modules whose loss is a quadratic function of one weight, with one, two and more optimizers and learning rates."""

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

CURVATURE = 4.0


class Quadratic(LightningModule):
    """The loss w^2 * CURVATURE / 2 of one weight. A second weight has no gradient.

    Args:
        scale: Factor of the loss; nan makes it invalid.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight, self.unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1, 1))
        self.scale = scale
        self.rates: list[list[float]] = []

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.zeros(6, 1), batch_size=2)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.scale * CURVATURE / 2 * self.weight.square().sum() + 0 * self.unused.sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])


class TwoRates(Quadratic):
    """Two parameter groups, of which the second has a tenth of the learning rate."""

    def __init__(self, learning_rate: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        lr = self.hparams.learning_rate
        groups = [{"params": [self.unused], "lr": lr / 10}, {"params": [self.weight], "lr": lr}]
        return torch.optim.SGD(groups, lr=lr)


class TwoOptimizers(TwoRates):
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([param], lr=0.1) for param in self.parameters()]


class WithoutRate(Quadratic):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Manual(TwoRates):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
