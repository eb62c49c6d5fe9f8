"""Convolutions that are slow or wrong in one memory format, so that the fastest correct settings are known."""

import time
from typing import Any

import torch
from torch import Tensor, nn

# Much longer than a step of the tiny model, so that a busy machine changes no choice.
DELAY_S = 0.02


def plant(monkeypatch: Any, slow: bool | None = None, wrong: bool | None = None) -> None:
    """Replace the convolution of torch.

    Args:
        monkeypatch: Restores it.
        slow: Whether channels_last convolutions (True) or the others (False) are slow; None: neither.
        wrong: Whether channels_last convolutions (True) or the others (False) return wrong results; None: neither.
    """
    convolve: Any = nn.Conv2d._conv_forward

    def convolve_with_fault(module: nn.Conv2d, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        is_channels_last = weight.is_contiguous(memory_format=torch.channels_last)
        time.sleep(DELAY_S if is_channels_last is slow else 0)
        outputs: Tensor = convolve(module, inputs, weight, bias)
        return outputs.relu() if is_channels_last is wrong else outputs

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", convolve_with_fault)
