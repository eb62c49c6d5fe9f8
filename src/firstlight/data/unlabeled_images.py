"""Image files to predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from firstlight.data.batch import Batch, to_index_tensor
from firstlight.data.image_io import get_center_crop_box, read_image_crop
from firstlight.run.errors import DataError


class UnlabeledImageDataset(Dataset[Any]):
    """Image files to predict. An unreadable file becomes a black image with the ID -1.

    Args:
        paths: The files.
        image_size: Side of the images in pixels.
    """

    def __init__(self, paths: list[Path], image_size: int) -> None:
        self.paths = paths
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return read_image_crop(self.paths[index], self.image_size, get_center_crop_box), index
        except DataError:
            return torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8), -1

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images, ids = zip(*(self[index] for index in indices), strict=True)
        return {"inputs": torch.stack(images), "ids": to_index_tensor(ids)}
