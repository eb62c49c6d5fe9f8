"""Random images of any size: for smoke runs, tests and benchmarks."""

from typing import Any

import numpy as np

from firstlight.data.images import InMemoryImageDataModule


class FakeImageDataModule(InMemoryImageDataModule):
    """Seeded noise around a colour of its own for each class, so that a model can learn it.

    Args:
        num_classes: classes, each in equal number.
        num_samples: training images; val and test have a quarter of that each, at least one per class.
        seed: chooses the noise.
        image_size: side in pixels.
        batch_size: images per step.
        num_workers: processes that read; None chooses for the platform.
        augment: as in `Images`.
        drop_last: as in `Images`.
        cache_on_device: as in `ImagesInMemory`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        num_samples: int = 256,
        seed: int = 0,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = False,
        drop_last: bool = True,
        cache_on_device: bool = True,
    ) -> None:
        super().__init__(image_size, batch_size, num_workers, augment, drop_last, cache_on_device)
        self.num_classes = num_classes
        self.num_samples = num_samples
        self.seed = seed

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels."""
        generator = np.random.default_rng(self.seed)
        colours = generator.integers(64, 192, (self.num_classes, 3, 1, 1))
        few = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": few, "test": few}.items():
            labels = np.arange(count) % self.num_classes
            noise = generator.integers(-64, 64, (count, 3, self.image_size, self.image_size), dtype=np.int16)
            splits[name] = ((colours[labels] + noise).astype(np.uint8), labels)
        return [f"class {index}" for index in range(self.num_classes)], splits
