"""Images: uint8 until they are on the device, where a whole batch is augmented and normalised at once."""

import functools
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from firstlight.data.datamodule import Batch, ClassificationDataModule, to_index_tensor
from firstlight.data.image_io import get_center_crop_box, list_images, read_image_crop
from firstlight.data.sampler import ResumableSampler
from firstlight.data.seeding import random_uniform

# Mean and standard deviation of ImageNet's RGB channels: what torchvision's pretrained weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageDataModule(ClassificationDataModule):
    """Labelled RGB images of one size.

    "inputs" of a batch are uint8 (batch, 3, size, size) from the loader, and float32, normalised by ImageNet's
    mean and standard deviation, once they are on the device.

    Args:
        image_size: side of the square images in pixels.
        batch_size: images per step.
        num_workers: processes that read images; None chooses for the platform.
        augment: shift and mirror the training images at random.
        drop_last: leave out a short last training batch.
    """

    modality: ClassVar[str] = "images"
    # Largest shift of the training images in pixels; 0 switches it off.
    max_shift: ClassVar[int] = 0
    mirror: ClassVar[bool] = False
    # Side of the images before they were enlarged to image_size; None if they were not.
    native_size: ClassVar[int | None] = None

    def __init__(
        self, image_size: int, batch_size: int, num_workers: int | None, augment: bool, drop_last: bool
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, drop_last=drop_last)
        self.image_size = image_size
        self.augment = augment

    @property
    def model_kwargs(self) -> dict[str, Any]:
        """Class names, image_size and native_size."""
        return {
            "class_names": self.class_names,
            "image_size": self.image_size,
            "native_size": self.native_size or self.image_size,
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (in training) and normalise a batch on the device.

        Args:
            batch: its "inputs" are (batch, 3, size, size) uint8; they become floats of the trainer's precision.
            dataloader_idx: of no meaning here.
        """
        assert self.trainer is not None
        images = batch["inputs"]
        if self.augment and self.trainer.training:
            images = self.augment_batch(images, batch["ids"], self.trainer.current_epoch)
        if getattr(self.trainer, "channels_last", False):
            # While it is a byte per value: the first convolution would do it with four.
            images = images.contiguous(memory_format=torch.channels_last)
        # The trainer's precision decides the type: bfloat16 under bf16-true, for one.
        return {**batch, "inputs": self.trainer.precision_plugin.convert_input(normalize(images))}

    def augment_batch(self, images: Tensor, ids: Tensor, epoch: int) -> Tensor:
        """Return a batch with each image shifted and mirrored at random, (batch, 3, size, size) uint8.

        Args:
            images: (batch, 3, size, size) uint8.
            ids: each image's position in its split, (batch,) int64: with the seed and the epoch it decides over chance.
            epoch: that of the training, from 0.
        """
        if not (self.max_shift or self.mirror):
            return images
        down, right, flip = random_uniform(ids, self.run_seed, epoch, count=3)
        if self.max_shift:
            ways = 2 * self.max_shift + 1
            images = shift_images(images, self.max_shift, (down * ways).long(), (right * ways).long())
        if self.mirror:
            images = torch.where((flip < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
        return images

    def load_predict_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return the paths of the images under a folder, or of one image, and their data set.

        Raises:
            ValueError: there is none.
        """
        paths = list_images(path)
        return [str(each) for each in paths], UnlabeledImageDataset(paths, self.image_size)

    def get_read_error(self, name: str) -> str:
        """Return the error that reading this file raises."""
        try:
            read_image_crop(Path(name), self.image_size, get_center_crop_box)
        except ValueError as error:
            return str(error)
        return f"{name} could not be read"


class InMemoryImageDataModule(ImageDataModule):
    """Images that fit in memory as one array, that of the GPU under CUDA.

    Args:
        image_size: as in `Images`.
        batch_size: as in `Images`.
        num_workers: as in `Images`; processes cannot read what a GPU holds.
        augment: as in `Images`.
        drop_last: as in `Images`.
        cache_on_device: under CUDA, hold all images in the GPU's memory: a batch is then picked there.
    """

    def __init__(
        self,
        image_size: int,
        batch_size: int,
        num_workers: int | None,
        augment: bool,
        drop_last: bool,
        cache_on_device: bool,
    ) -> None:
        super().__init__(image_size, batch_size, num_workers, augment, drop_last)
        self.cache_on_device = cache_on_device and not num_workers

    def make_dataloader(self, dataset: Dataset[Any], order: ResumableSampler | None = None) -> DataLoader[Any]:
        """Return the loader of one data set, held by the GPU if that was asked for."""
        loader = super().make_dataloader(dataset, order)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self.cache_on_device and device.type == "cuda" and isinstance(dataset, InMemoryImageDataset):
            dataset.to(device)
            loader.pin_memory = False  # only what is on the CPU can be pinned
        return loader

    @abstractmethod
    def load_arrays(self) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return class names and, by split, images (samples, 3, size, size) uint8 and labels (samples,)."""

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names and the three data sets."""
        class_names, splits = self.load_arrays()
        return class_names, {name: InMemoryImageDataset(images, labels) for name, (images, labels) in splits.items()}


class InMemoryImageDataset(Dataset[Any]):
    """Images in memory that are handed out a batch at a time, without any work per image."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep images, shape (samples, 3, size, size) uint8, and labels, shape (samples,)."""
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> None:
        """Move all images to a CUDA device."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # A copy that need not be waited for; on the CPU it is none at all.
        chosen = to_index_tensor(indices).to(self.images.device, non_blocking=self.images.is_cuda)
        return {"inputs": self.images[chosen], "labels": self.labels[chosen], "ids": chosen}


class UnlabeledImageDataset(Dataset[Any]):
    """Image files to predict; one that cannot be read becomes a black image with the id -1."""

    def __init__(self, paths: list[Path], image_size: int) -> None:
        """Keep the paths and the side of the images in pixels."""
        self.paths = paths
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return read_image_crop(self.paths[index], self.image_size, get_center_crop_box), index
        except ValueError:
            return torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8), -1

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images, ids = zip(*(self[index] for index in indices), strict=True)
        return {"inputs": torch.stack(images), "ids": to_index_tensor(ids)}


def denormalize(images: Tensor) -> Tensor:
    """Return normalised images as one can look at them: uint8 on the CPU, (batch, 3, height, width)."""
    scale, shift = _scale_and_shift(torch.device("cpu"))
    return ((images.detach().float().cpu() - shift) / scale).round().clamp(0, 255).to(torch.uint8)


def normalize(images: Tensor) -> Tensor:
    """Return uint8 images as float32 with ImageNet's mean and deviation, (batch, 3, height, width)."""
    scale, shift = _scale_and_shift(images.device)
    return torch.addcmul(shift, images.float(), scale)


@functools.cache
def _scale_and_shift(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what normalises pixels of 0 to 255, each (1, 3, 1, 1); a copy per batch would make a GPU wait."""
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return 1 / (255 * std), -mean / std


def shift_images(images: Tensor, pixels: int, down: Tensor, right: Tensor) -> Tensor:
    """Return each image moved by up to so many pixels each way, zeros coming in at the edge.

    Args:
        images: shape (batch, channels, height, width).
        pixels: largest shift.
        down: 0 to 2 * pixels, the row of the enlarged image at which each result starts, (batch,) int64.
        right: likewise the column.
    """
    batch, _, height, width = images.shape
    padded = functional.pad(images, (pixels, pixels, pixels, pixels))
    rows = down.view(-1, 1, 1) + torch.arange(height, device=images.device).view(1, height, 1)
    columns = right.view(-1, 1, 1) + torch.arange(width, device=images.device).view(1, 1, width)
    samples = torch.arange(batch, device=images.device).view(batch, 1, 1)
    picked = padded[samples, :, rows, columns]  # (batch, height, width, channels)
    return picked.permute(0, 3, 1, 2).contiguous()
