"""Images to predict: files, or contents of files in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from firstlight.data.batch import Batch, to_index_tensor
from firstlight.data.image_io import decode_image_crop, get_center_crop_box


class UnlabeledImageDataset(Dataset[Any]):
    """Images to predict. An unreadable file becomes a black image with the ID -1.

    Args:
        sources: The files, or their contents.
        image_size: Side of the images in pixels.
    """

    def __init__(self, sources: Sequence[Path | bytes], image_size: int) -> None:
        self.sources = sources
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return decode_image_crop(self.sources[index], self.image_size, get_center_crop_box), index
        except Exception:  # decoders raise many kinds for a corrupt file
            return torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8), -1

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images, ids = zip(*(self[index] for index in indices), strict=True)
        return {"inputs": torch.stack(images), "ids": to_index_tensor(ids)}
