"""Learning-rate schedules that torch does not have under one name."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosineLR(LambdaLR):
    """Rise from 0 to the learning rate in a straight line, then fall to 0 along half a cosine.

    Loshchilov & Hutter 2017 (SGDR), equation 5, with the warm-up of Goyal et al. 2017, section 2.2.

    Args:
        optimizer: its learning rates are the peak.
        total_steps: calls of `step` until the end.
        warmup_fraction: share of the steps that rise, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_fraction: float = 0.1) -> None:
        if not 0 <= warmup_fraction < 1:
            raise ValueError(f"warmup_fraction is a share of the steps, 0 to below 1, but it is {warmup_fraction}")
        self.total_steps = max(total_steps, 1)
        self.warmup_fraction = warmup_fraction
        super().__init__(optimizer, self.get_lr_factor)

    def get_lr_factor(self, step: int) -> float:
        """Return the share of the peak at a step, 0 to 1."""
        warmup_steps = round(self.warmup_fraction * self.total_steps)
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = (step - warmup_steps) / max(self.total_steps - warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
