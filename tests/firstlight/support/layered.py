"""A plain module of three layers, and optimizers of its parameters."""

import torch
from lightning.pytorch import LightningModule
from torch import nn

from firstlight.model.optimizer import build_optimizer

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1, "weight_decay": 0.5}


class Perceptron(LightningModule):
    """Three layers, of which the first is an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.hidden = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.head = nn.Linear(4, 2)


def build_groups(model: nn.Module, **config) -> torch.optim.Optimizer:
    return build_optimizer(model, {**SGD, **config}, fused=False)


def list_rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each parameter."""
    rates = {param: group["lr"] for group in optimizer.param_groups for param in group["params"]}
    return {name: rates[param] for name, param in model.named_parameters() if param in rates}
