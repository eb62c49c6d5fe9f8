"""CIFAR-10, downloaded once by torchvision."""

from typing import Any, ClassVar, Unpack

import numpy as np
from torchvision import datasets

from firstlight.data.image_augmentation import ImageAugmentation
from firstlight.data.images import InMemoryImageDataModule
from firstlight.run.errors import DataError


class CIFAR10DataModule(InMemoryImageDataModule):
    """60,000 photos of 32 x 32 pixels in 10 classes: 45,000 train, 5,000 val, 10,000 test.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. The authors state no
    license. The photos were collected from the web for research.

    Args:
        root: Directory of the downloaded archive (163 MiB).
        batch_size: Images per step and device.
        num_workers: DataLoader workers. If None, there are none.
        augment: Whether to shift (by up to 4 pixels) and flip training images.
        drop_last: Whether to drop an incomplete last training batch.
        cache_on_device: Whether to hold all images in GPU memory on CUDA.
        augmentation: See `ImageAugmentation`.
    """

    max_shift: ClassVar[int] = 4
    horizontal_flip: ClassVar[bool] = True

    def __init__(
        self,
        root: str = "data/cifar10",
        batch_size: int = 128,
        num_workers: int | None = None,
        augment: bool = True,
        drop_last: bool = True,
        cache_on_device: bool = True,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(32, batch_size, num_workers, augment, drop_last, cache_on_device, **augmentation)
        self.root = root

    def prepare_data(self) -> None:
        """Download the archive if it is not there yet.

        Raises:
            DataError: If it is not there and cannot be downloaded.
        """
        try:
            datasets.CIFAR10(self.root, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"CIFAR-10 was not found in {self.root} and could not be downloaded ({error}). Check your connection, "
                f"copy cifar-10-python.tar.gz to {self.root}, or use another dataset."
            ) from error

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels. A tenth of the training images is taken for val."""
        train, test = datasets.CIFAR10(self.root, train=True), datasets.CIFAR10(self.root, train=False)
        # Images are (samples, 32, 32, 3) in the archive.
        splits = {"train": train, "test": test}
        return list(train.classes), {
            name: (split.data.transpose(0, 3, 1, 2), np.array(split.targets)) for name, split in splits.items()
        }
