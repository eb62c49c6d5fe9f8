"""Train a small model as `python -m firstlight.train` does; FAULT=rank:step:what makes that rank go wrong then.

python tests/firstlight/support/several_training.py trainer=ddp trainer.accelerator=cpu trainer.devices=2 ...
python tests/firstlight/support/several_training.py run=logs/train/<run>      evaluate it
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import nn

from firstlight import build, evaluate, train
from firstlight.checkpoint import io as checkpoint_io
from support.small import Small


class Even(Small):
    """Its steps do not depend on how their samples are divided; DROPOUT, and NORM=batch, make them."""

    def __init__(self):
        super().__init__()
        dropout = nn.Dropout(float(os.environ.get("DROPOUT", 0)))
        norm = nn.BatchNorm1d(8) if "NORM" in os.environ else nn.Identity()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), norm, nn.ReLU(), dropout, nn.Linear(8, 2))

    def configure_optimizers(self):
        # In two groups, as those of the models are: in another order than the model has its weights.
        named = list(self.named_parameters())
        groups = [[each for name, each in named if ("bias" in name) == bias] for bias in (False, True)]
        return torch.optim.AdamW([{"params": group} for group in groups], lr=0.01)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        rank, step, what = os.environ.get("FAULT", "-1:0:").split(":")
        if self.trainer.global_rank == int(rank) and self.trainer.global_step == int(step):
            Path("fault").touch()
            if what == "error":
                raise RuntimeError("the model broke")
            if what == "nan":
                return loss * float("nan")
            os.kill(os.getpid(), getattr(signal, what))
        return loss


def load_model(checkpoint, *args):
    model = Even()
    model.load_state_dict(checkpoint_io.load(checkpoint)["state_dict"])
    return model


build.build_model = lambda settings, facts: Even()
build.load_model = load_model

if __name__ == "__main__":
    (evaluate if sys.argv[1].startswith("run=") else train).main()
