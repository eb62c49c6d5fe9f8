"""Images: uint8 until they are on the device, where a whole batch is augmented and normalised at once."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from torchvision.transforms import v2

from firstlight.data.module import Batch, Data, as_indices

# Mean and standard deviation of ImageNet's RGB channels: what torchvision's pretrained weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Images(Data):
    """Labelled RGB images of one size.

    "inputs" of a batch are uint8 (batch, 3, size, size) from the loader, and float32, normalised by ImageNet's
    mean and standard deviation, once they are on the device.
    """

    yields: ClassVar[str] = "images"
    # Largest shift of the training images in pixels; 0 switches it off.
    max_shift: ClassVar[int] = 0
    mirror: ClassVar[bool] = False
    # Side of the images before they were enlarged to image_size; None if they were not.
    native_size: ClassVar[int | None] = None

    def __init__(
        self, image_size: int, batch_size: int, num_workers: int | None, augment: bool, drop_last: bool
    ) -> None:
        """Keep the settings.

        Args:
            image_size: side of the square images in pixels.
            batch_size: images per step.
            num_workers: processes that read images; None chooses for the platform.
            augment: shift and mirror the training images at random.
            drop_last: leave out a short last training batch.
        """
        super().__init__(batch_size=batch_size, num_workers=num_workers, drop_last=drop_last)
        self.image_size = image_size
        self.augment = augment

    @property
    def facts(self) -> dict[str, Any]:
        """Class names, image_size and native_size."""
        return {
            "class_names": self.class_names,
            "image_size": self.image_size,
            "native_size": self.native_size or self.image_size,
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (in training) and normalise a batch on the device."""
        assert self.trainer is not None
        images = batch["inputs"]
        if self.augment and self.trainer.training:
            images = self.augmented(images)
        # The trainer's precision decides the type: bfloat16 under bf16-true, for one.
        return {**batch, "inputs": self.trainer.precision_plugin.convert_input(normalised(images))}

    def augmented(self, images: Tensor) -> Tensor:
        """Return a batch with each image shifted and mirrored at random, (batch, 3, size, size) uint8."""
        if self.max_shift:
            images = shifted(images, self.max_shift)
        if self.mirror:
            flip = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
            images = torch.where(flip, images.flip(-1), images)
        return images

    def read_inputs(self, path: Path) -> tuple[list[str], Dataset[Any]]:
        """Return the paths of the images under a folder, or of one image, and their data set."""
        paths = image_paths(path)
        return [str(each) for each in paths], UnlabelledFiles(paths, self.image_size)

    def why_unreadable(self, name: str) -> str:
        """Return the error that reading this file raises."""
        try:
            read_image(Path(name))
        except ValueError as error:
            return str(error)
        return f"{name} could not be read"


class ImagesInMemory(Images):
    """Images that fit in memory as one array."""

    @abstractmethod
    def arrays(self) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return class names and, by split, images (samples, 3, size, size) uint8 and labels (samples,)."""

    def read(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names and the three data sets."""
        class_names, splits = self.arrays()
        return class_names, {name: Pixels(images, labels) for name, (images, labels) in splits.items()}


class Pixels(Dataset[Any]):
    """Images in memory that are handed out a batch at a time, without any work per image."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep images, shape (samples, 3, size, size) uint8, and labels, shape (samples,)."""
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = as_indices(indices)
        return {"inputs": self.images[chosen], "labels": self.labels[chosen], "ids": chosen}


class UnlabelledFiles(Dataset[Any]):
    """Image files to predict; one that cannot be read becomes a black image with the id -1."""

    def __init__(self, paths: list[Path], image_size: int) -> None:
        """Keep the paths and the side of the images in pixels."""
        self.paths = paths
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return centred(read_image(self.paths[index]), self.image_size), index
        except ValueError:
            return torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8), -1

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images, ids = zip(*(self[index] for index in indices), strict=True)
        return {"inputs": torch.stack(images), "ids": as_indices(ids)}


def normalised(images: Tensor) -> Tensor:
    """Return uint8 images as float32 with ImageNet's mean and deviation, (batch, 3, height, width)."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return images.float().div(255).sub(mean).div(std)


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Return each image moved by up to so many pixels each way, zeros coming in at the edge.

    Args:
        images: shape (batch, channels, height, width).
        pixels: largest shift.
    """
    batch, _, height, width = images.shape
    padded = functional.pad(images, (pixels, pixels, pixels, pixels))
    corners = torch.randint(0, 2 * pixels + 1, (2, batch, 1, 1), device=images.device)
    rows = corners[0] + torch.arange(height, device=images.device).view(1, height, 1)
    columns = corners[1] + torch.arange(width, device=images.device).view(1, 1, width)
    samples = torch.arange(batch, device=images.device).view(batch, 1, 1)
    picked = padded[samples, :, rows, columns]  # (batch, height, width, channels)
    return picked.permute(0, 3, 1, 2).contiguous()


def centred(image: Tensor, size: int) -> Tensor:
    """Return the middle of an image, its shorter side scaled to 8/7 of the size, as (3, size, size) uint8."""
    # 256 for 224 px, as ImageNet models are tested; small images are used whole.
    shorter = size if size < 64 else round(size * 8 / 7)
    image = v2.functional.resize(image, [shorter], antialias=True)
    return v2.functional.center_crop(image, [size, size])


def read_image(path: Path) -> Tensor:
    """Read an image file as RGB, (3, height, width) uint8.

    Raises:
        ValueError: the file is missing, damaged or no image.
    """
    try:
        with Image.open(path) as image:
            return v2.functional.pil_to_tensor(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read the image {path} ({error}): repair or remove it") from error


def image_paths(path: Path) -> list[Path]:
    """Return the image files under a folder in order, or the one file that the path names.

    Raises:
        ValueError: the path does not exist, or holds no image.
    """
    if path.is_file():
        return [path]
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES and each.is_file())
    if not found:
        what = "holds no image" if path.exists() else "does not exist"
        raise ValueError(f"{path} {what}: give a folder or file with one of {', '.join(IMAGE_SUFFIXES)}")
    return found
