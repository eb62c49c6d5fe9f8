"""Train a small model as `python -m firstlight.train` does; FAULT=rank:step:what makes that rank go wrong then.

python tests/several_training.py trainer=ddp trainer.accelerator=cpu trainer.devices=2 ...
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from small import Small
from torch import nn

from firstlight import checkpoint_io, run
from firstlight.train import main


class Even(Small):
    """Without batch normalisation: its steps do not depend on how their samples are divided; DROPOUT makes them."""

    def __init__(self):
        super().__init__()
        dropout = nn.Dropout(float(os.environ.get("DROPOUT", 0)))
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), dropout, nn.Linear(8, 2))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)

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


run.build_model = lambda settings, facts: Even()
run.load_model = load_model

if __name__ == "__main__":
    main()
