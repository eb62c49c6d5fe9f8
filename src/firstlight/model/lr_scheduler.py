"""LR schedulers that torch does not provide as a single class."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from firstlight.run.errors import ConfigError, invalid_value


class WarmupCosineLR(LambdaLR):
    """Linear warm-up from 0 to the learning rate, then cosine decay to 0.

    Loshchilov & Hutter 2017 (SGDR), equation 5, with the warm-up of Goyal et al. 2017, section 2.2.

    Args:
        optimizer: Its learning rates are the peak of the schedule.
        total_steps: Number of calls of `step` in the run.
        warmup_fraction: Fraction of the steps used for the warm-up, at least 0 and less than 1.

    Raises:
        ConfigError: If `warmup_fraction` is out of range.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_fraction: float = 0.1) -> None:
        if not 0 <= warmup_fraction < 1:
            expected, fix = "a number of at least 0 and less than 1", "Use e.g. scheduler.warmup_fraction=0.1."
            raise ConfigError(invalid_value("scheduler.warmup_fraction", warmup_fraction, expected, fix))
        self.total_steps = max(total_steps, 1)
        self.warmup_fraction = warmup_fraction
        super().__init__(optimizer, self.get_lr_factor)

    def get_lr_factor(self, step: int) -> float:
        """Return the factor of the peak learning rate at a step, 0 to 1."""
        warmup_steps = round(self.warmup_fraction * self.total_steps)
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(self.total_steps - warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
