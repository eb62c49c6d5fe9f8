"""CIFAR-10, downloaded once by torchvision when asked for by name."""

from typing import Any, ClassVar

import numpy as np
from torchvision import datasets

from firstlight.data.images import InMemoryImageDataModule
from firstlight.data.split import stratified_split


class CIFAR10DataModule(InMemoryImageDataModule):
    """60,000 photos of 32 x 32, 10 classes: 45,000 train, 5,000 val, 10,000 test.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. The authors state no
    licence; the photos were collected from the web for research.

    Args:
        root: folder of the downloaded archive (163 MiB).
        batch_size: images per step.
        num_workers: processes that read; None chooses for the platform.
        augment: as in `Images`.
        drop_last: as in `Images`.
        cache_on_device: as in `ImagesInMemory`.
    """

    max_shift: ClassVar[int] = 4
    mirror: ClassVar[bool] = True

    def __init__(
        self,
        root: str = "data/cifar10",
        batch_size: int = 128,
        num_workers: int | None = None,
        augment: bool = True,
        drop_last: bool = True,
        cache_on_device: bool = True,
    ) -> None:
        super().__init__(32, batch_size, num_workers, augment, drop_last, cache_on_device)
        self.root = root

    def prepare_data(self) -> None:
        """Download the archive unless it is there.

        Raises:
            ValueError: it is not there and cannot be downloaded.
        """
        try:
            datasets.CIFAR10(self.root, download=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"CIFAR-10 is not under {self.root} and could not be downloaded ({error}): connect to the network, "
                "copy cifar-10-python.tar.gz there, or choose another data="
            ) from error

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels."""
        training, test = datasets.CIFAR10(self.root, train=True), datasets.CIFAR10(self.root, train=False)
        images, labels = training.data.transpose(0, 3, 1, 2), np.array(training.targets)  # (50000, 3, 32, 32)
        splits = stratified_split(labels, val_fraction=0.1, test_fraction=0)
        return list(training.classes), {
            **{name: (images[chosen], labels[chosen]) for name, chosen in splits.items()},
            "test": (test.data.transpose(0, 3, 1, 2), np.array(test.targets)),
        }
