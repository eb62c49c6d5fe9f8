"""Images in memory: their dataset, their checks, and shifts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from firstlight.data.batch import Batch, to_index_tensor
from firstlight.data.labels import validate_label_values
from firstlight.run.errors import DataError


class InMemoryImageDataset(Dataset[Any]):
    """Images in memory that are returned as batches, without any work per image.

    Args:
        images: Shape (samples, 3, size, size), uint8.
        labels: Shape (samples,) or (samples, labels).
        label_dtype: Dtype of the labels.

    Raises:
        DataError: If images or labels have another dtype or shape.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, label_dtype: torch.dtype = torch.int64) -> None:
        images, labels = np.asarray(images), np.asarray(labels)
        validate_images(images, len(labels))
        validate_label_values(labels, "classification" if label_dtype == torch.int64 else "")
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.labels = torch.from_numpy(labels).to(label_dtype)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> None:
        """Move all images and labels to a CUDA device."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # non_blocking: the copy to the GPU does not synchronize. On the CPU, nothing is copied.
        ids = to_index_tensor(indices).to(self.images.device, non_blocking=self.images.is_cuda)
        return {"inputs": self.images[ids], "labels": self.labels[ids], "ids": ids}


def validate_images(images: np.ndarray, num_labels: int) -> None:
    """Check that images are uint8 RGB in the layout of torch, one per label.

    Raises:
        DataError: If they are not.
    """
    got = f"got {images.dtype} {images.shape}"
    if images.ndim == 4 and images.shape[1] != 3 and images.shape[3] == 3:
        fix = "Return images.transpose(0, 3, 1, 2)."
    elif images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 1):
        fix = "Repeat the gray channel: np.repeat(images.reshape(len(images), 1, height, width), 3, axis=1)."
    elif images.ndim == 4 and images.shape[1] == 3 and images.dtype != np.uint8:
        fix = "Scale the pixels to 0..255 and return images.astype(np.uint8)."
    else:
        fix = "Return one RGB image per sample."
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
        raise DataError(f"Invalid images: expected uint8 (samples, 3, height, width), {got}. {fix}")
    if len(images) != num_labels:
        raise DataError(f"Invalid labels: expected one per image, got {num_labels} for {len(images)} images.")


def shift_images(images: Tensor, max_shift: int, down: Tensor, right: Tensor) -> Tensor:
    """Return each image shifted by up to `max_shift` pixels in each direction, padded with zeros.

    Args:
        images: Shape (batch, channels, height, width).
        max_shift: Largest shift in pixels.
        down: First row of each result in the padded image, 0 to 2 * max_shift, shape (batch,) int64.
        right: First column of each result in the padded image, likewise.
    """
    batch, _, height, width = images.shape
    padded = functional.pad(images, (max_shift, max_shift, max_shift, max_shift))
    rows = down.view(-1, 1, 1) + torch.arange(height, device=images.device).view(1, height, 1)
    columns = right.view(-1, 1, 1) + torch.arange(width, device=images.device).view(1, 1, width)
    samples = torch.arange(batch, device=images.device).view(batch, 1, 1)
    shifted = padded[samples, :, rows, columns]  # (batch, height, width, channels)
    return shifted.permute(0, 3, 1, 2).contiguous()
