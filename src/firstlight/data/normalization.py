"""Normalize the channels of images, and undo it for plots."""

import functools

import torch
from torch import Tensor

# Mean and standard deviation of the RGB channels of ImageNet, which torchvision's pretrained weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def denormalize_to_uint8(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """Return normalized images as uint8 on their device, for plots, (batch, 3, height, width)."""
    scale, shift = _get_scale_and_shift(images.device, mean, std)
    return ((images.detach().float() - shift) / scale).round().clamp(0, 255).to(torch.uint8)


def normalize(images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> Tensor:
    """Return uint8 images normalized with mean and standard deviation, float32 (batch, 3, height, width).

    Args:
        images: Shape (batch, 3, height, width), uint8.
        mean: Mean of each channel, for pixels from 0 to 1.
        std: Standard deviation of each channel.
    """
    scale, shift = _get_scale_and_shift(images.device, mean, std)
    # A CUDA kernel converts the pixels as it reads them, which saves writing and reading them once as floats.
    return torch.addcmul(shift, images if images.is_cuda else images.float(), scale)


@functools.cache
def _get_scale_and_shift(
    device: torch.device, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return scale and shift for pixels of 0 to 255, each (1, 3, 1, 1). Cached: copies would synchronize a GPU."""
    means, stds = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return 1 / (255 * stds), -means / stds
