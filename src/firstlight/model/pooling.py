"""Adaptive average pooling that every device can run."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MPSAdaptiveAvgPool2d(nn.Module):
    """Average a map down, or repeat it up, to size x size: what nn.AdaptiveAvgPool2d(size) does, to 1e-6.

    MPS refuses sizes that do not divide (pytorch issue 96056, open with torch 2.15), such as VGG16's 7 of 3 at 96 px.
    There the mean is written as two matrix products, which run everywhere.
    """

    def __init__(self, size: int) -> None:
        """Keep the side of the map that comes out."""
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, channels, size, size) of (batch, channels, height, width)."""
        height, width = maps.shape[-2:]
        shrinks = height % self.size == 0 and width % self.size == 0
        grows = self.size % height == 0 and self.size % width == 0
        if shrinks or grows:
            return functional.adaptive_avg_pool2d(maps, self.size)
        rows, columns = (make_averaging_matrix(length, self.size, maps) for length in (height, width))
        return rows @ maps @ columns.T


def make_averaging_matrix(length: int, size: int, like: Tensor) -> Tensor:
    """Return the mean over each of the windows as a matrix, shape (size, length), with dtype and device of `like`.

    Window i goes from floor(i * length / size) to ceil((i + 1) * length / size), as in torch.
    """
    index = torch.arange(size, device=like.device).unsqueeze(1)
    start, end = index * length // size, -(-(index + 1) * length // size)
    place = torch.arange(length, device=like.device)
    inside = (place >= start) & (place < end)  # (size, length)
    return inside.to(like.dtype) / (end - start).to(like.dtype)
