"""Convolutions, normalization and pooling."""

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.check_gpu.operator_check import DTYPES, OperatorCase, Shapes

ALL_DTYPES = (*DTYPES, torch.float16)
# Rounded values are often equal. Which of two equal values is the maximum is not defined.
FLOAT32 = (torch.float32,)
NO_CHANNELS_LAST = "Set trainer.channels_last=false."
CALL_CONTIGUOUS = "Call .contiguous() on its input."
IMAGES: Shapes = {"input": (4, 6, 9, 7)}
NORM: Shapes = {"weight": (6,), "bias": (6,)}


def to_channels_last(images: Tensor) -> Tensor:
    """Return images, (batch, channels, height, width), in the memory format channels_last."""
    return images.contiguous(memory_format=torch.channels_last)


def apply_batch_norm(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalize images with the statistics of the batch."""
    return functional.batch_norm(images, None, None, weight, bias, training=True)


def apply_batch_norm_in_evaluation(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalize images with stored statistics, as in evaluation."""
    mean, variance = (images.new_full((images.shape[1],), value) for value in (0.5, 2.0))
    return functional.batch_norm(images, mean, variance, weight, bias, training=False)


CONVOLUTIONS = [
    OperatorCase(
        "convolution, strided and grouped",
        lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=1, groups=2),
        {**IMAGES, "weight": (8, 3, 3, 3), "bias": (8,)},
        ALL_DTYPES,
    ),
    OperatorCase(
        "convolution, depthwise, strided",
        lambda x, w: functional.conv2d(x, w, stride=2, padding=2, dilation=2, groups=6),
        {**IMAGES, "weight": (6, 1, 3, 3)},
        ALL_DTYPES,
    ),
    OperatorCase(
        "convolution, depthwise, kernel of the full height",
        lambda x, w: functional.conv2d(x, w, groups=8),
        {"input": (3, 8, 256, 5), "weight": (16, 1, 256, 1)},
        mps_issue=188335,
        workaround="Update torch.",
    ),
    OperatorCase(
        "convolution, channels_last",
        lambda x, w: functional.conv2d(to_channels_last(x), to_channels_last(w), padding=1),
        {**IMAGES, "weight": (8, 6, 3, 3)},
        ALL_DTYPES,
        workaround=NO_CHANNELS_LAST,
    ),
    OperatorCase(
        "convolution, gradient not contiguous",
        lambda x, w: functional.conv2d(x, w, padding=1).permute(3, 0, 2, 1),
        {**IMAGES, "weight": (8, 6, 3, 3)},
        mps_issue=142344,
        workaround="Update torch.",
    ),
    OperatorCase(
        "convolution, 65,537 samples",
        lambda x, w: functional.conv2d(x, w),
        {"input": (65_537, 1, 3, 3), "weight": (2, 1, 3, 3)},
        FLOAT32,
        mps_issue=96225,
        workaround="Use a smaller batch.",
    ),
    OperatorCase(
        "convolution, 1d, strided",
        lambda x, w: functional.conv1d(x, w, stride=3, padding=2),
        {"input": (3, 4, 23), "weight": (6, 4, 5)},
    ),
    OperatorCase(
        "convolution, transposed, strided",
        lambda x, w: functional.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        {**IMAGES, "weight": (6, 4, 3, 3)},
    ),
]

NORMALIZATION = [
    OperatorCase("batch norm", apply_batch_norm, {**IMAGES, **NORM}),
    OperatorCase(
        "batch norm, channels_last",
        lambda x, w, b: apply_batch_norm(to_channels_last(x), w, b),
        {**IMAGES, **NORM},
        mps_issue=175189,
        workaround=NO_CHANNELS_LAST,
    ),
    OperatorCase(
        "batch norm, input not contiguous",
        lambda x, w, b: apply_batch_norm(x.permute(1, 3, 0, 2), w, b),
        {"input": (7, 4, 5, 6), **NORM},
        mps_issue=175189,
        workaround=CALL_CONTIGUOUS,
    ),
    OperatorCase(
        "batch norm, gradient not contiguous",
        lambda x, w, b: apply_batch_norm(x, w, b).permute(3, 0, 2, 1),
        {**IMAGES, **NORM},
        mps_issue=175189,
        workaround="Update torch.",
    ),
    OperatorCase("batch norm, evaluation", apply_batch_norm_in_evaluation, {**IMAGES, **NORM}),
    OperatorCase("layer norm", lambda x, w, b: functional.layer_norm(x, (6,), w, b), {"input": (4, 5, 6), **NORM}),
    OperatorCase(
        "layer norm, slice of a tensor",
        lambda x, w, b: functional.layer_norm(x[2:4], (6,), w, b),
        {"input": (5, 6), **NORM},
        mps_issue=131750,
        workaround=CALL_CONTIGUOUS,
    ),
    OperatorCase(
        "layer norm, small variance",
        # Kernels that subtract the squared mean from the mean of the squares lose a variance below 1e-6.
        lambda x, w, b: functional.layer_norm(1 + x / 1024, (6,), w, b, eps=1e-7),
        {"input": (5, 6), **NORM},
        FLOAT32,
        mps_issue=186367,
        workaround="Update torch.",
    ),
    OperatorCase("group norm", lambda x, w, b: functional.group_norm(x, 2, w, b), {**IMAGES, **NORM}),
]

POOLING = [
    OperatorCase(
        "adaptive average pooling, to 3 x 3", lambda x: functional.adaptive_avg_pool2d(x, 3), {"input": (2, 3, 12, 9)}
    ),
    OperatorCase("adaptive average pooling, to 1 x 1", lambda x: functional.adaptive_avg_pool2d(x, 1), IMAGES),
    OperatorCase(
        "adaptive average pooling, 7 x 5 to 3 x 2",
        lambda x: functional.adaptive_avg_pool2d(x, (3, 2)),
        {"input": (2, 3, 7, 5)},
        mps_issue=96056,
        workaround="Use firstlight.model.pooling.MPSAdaptiveAvgPool2d.",
    ),
    OperatorCase(
        "adaptive max pooling, to 3 x 3",
        lambda x: functional.adaptive_max_pool2d(x, 3),
        {"input": (2, 3, 12, 9)},
        FLOAT32,
    ),
    OperatorCase(
        "adaptive max pooling, 5 x 5 to 3 x 3",
        lambda x: functional.adaptive_max_pool2d(x, 3),
        {"input": (2, 3, 5, 5)},
        FLOAT32,
        mps_issue=190064,
        workaround="Update torch, or choose an image size that is divisible.",
    ),
    OperatorCase("max pooling, overlapping", lambda x: functional.max_pool2d(x, 3, 2, 1), IMAGES, FLOAT32),
    OperatorCase("average pooling, padded", lambda x: functional.avg_pool2d(x, 3, 2, 1), IMAGES),
    OperatorCase("bilinear upsampling", lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"), IMAGES),
]
