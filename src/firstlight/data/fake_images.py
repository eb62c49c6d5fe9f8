"""Random images of any size, for smoke tests and benchmarks."""

from typing import Any

import numpy as np

from firstlight.data.images import InMemoryImageDataModule


class FakeImageDataModule(InMemoryImageDataModule):
    """Seeded noise around one color per class, so that a model can learn it.

    Args:
        num_classes: Number of classes, all of equal size.
        num_samples: Training images. Val and test have a quarter of this each, at least one image per class.
        seed: Seed of the noise.
        image_size: Side of the images in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers. If None, there are none.
        augment: See `ImageDataModule`.
        drop_last: See `ImageDataModule`.
        cache_on_device: See `InMemoryImageDataModule`.
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
        rng = np.random.default_rng(self.seed)
        colors = rng.integers(64, 192, (self.num_classes, 3, 1, 1))
        num_eval = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": num_eval, "test": num_eval}.items():
            labels = np.arange(count) % self.num_classes
            noise = rng.integers(-64, 64, (count, 3, self.image_size, self.image_size), dtype=np.int16)
            splits[name] = ((colors[labels] + noise).astype(np.uint8), labels)
        return [f"class {index}" for index in range(self.num_classes)], splits
