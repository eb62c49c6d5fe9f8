"""A plain module of 100 parameters with what callbacks and LR schedulers ask for: a backbone, batch norm, dropout."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler


class Finetuned(LightningModule):
    """A backbone and a head on images of 2 x 2 px. The optimizer is that of the config."""

    def __init__(self, class_names: list[str], dropout: float = 0.5) -> None:
        super().__init__()
        layers = (nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(dropout))
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(4, len(class_names))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = functional.cross_entropy(self(batch["inputs"]), batch["labels"])
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val/loss", functional.cross_entropy(self(batch["inputs"]), batch["labels"]))

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("test/loss", functional.cross_entropy(self(batch["inputs"]), batch["labels"]))


class OwnScheduler(Finetuned):
    """The same module with an optimizer and LR schedulers of its own, which a config cannot describe.

    Args:
        schedule: Name of the scheduler.
        interval: "step" or "epoch".
        frequency: Number of steps or epochs between the steps of the scheduler.
    """

    def __init__(self, class_names: list[str], schedule: str, interval: str = "step", frequency: int = 1) -> None:
        super().__init__(class_names)
        self.schedule, self.interval, self.frequency = schedule, interval, frequency
        self.lr = 0.03  # LearningRateFinder changes it

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        halve = lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=5)
        decay = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        schedulers = {
            "lambda": lambda: lr_scheduler.LambdaLR(optimizer, lambda step: 0.95**step),
            "multiplicative": lambda: lr_scheduler.MultiplicativeLR(optimizer, lambda step: 0.9 + 0.01 * (step % 2)),
            "sequential": lambda: lr_scheduler.SequentialLR(optimizer, [halve, decay], milestones=[5]),
            "chained": lambda: lr_scheduler.ChainedScheduler([halve, decay], optimizer=optimizer),
            "swa": lambda: torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.005, anneal_epochs=3),
            "cycle": lambda: lr_scheduler.CyclicLR(optimizer, 0.01, 0.03, step_size_up=3, scale_fn=lambda step: 0.9),
            "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
        }
        config = {"interval": self.interval, "frequency": self.frequency, "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedulers[self.schedule](), **config}}
