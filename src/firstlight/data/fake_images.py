"""Random images of any size, for smoke tests and benchmarks."""

from typing import Any, Literal, Unpack

import numpy as np

from firstlight.data.fake_labels import draw_fake_labels, make_fake_names
from firstlight.data.image_augmentation import ImageAugmentation
from firstlight.data.images import InMemoryImageDataModule


class FakeImageDataModule(InMemoryImageDataModule):
    """Seeded noise around one color per class, so that a model can learn it.

    For other tasks, each label adds a color of its own, or the target is the brightness.

    Args:
        task: "classification", "multilabel" (several labels per image) or "regression" (a number). If None, the task of
            the model, which the engine sets.
        num_classes: Number of classes, all of equal size, or number of labels.
        num_samples: Training images. Val and test have a quarter of this each, at least one image per class.
        seed: Seed of the noise.
        image_size: Side of the images in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers. If None, there are none.
        augment: See `ImageDataModule`.
        drop_last: See `ImageDataModule`.
        cache_on_device: See `InMemoryImageDataModule`.
        balanced_sampler: See `LabeledDataModule`.
        augmentation: See `ImageAugmentation`.
    """

    def __init__(
        self,
        task: Literal["classification", "multilabel", "regression"] | None = None,
        num_classes: int = 10,
        num_samples: int = 256,
        seed: int = 0,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = False,
        drop_last: bool = True,
        cache_on_device: bool = True,
        balanced_sampler: bool = False,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(
            image_size, batch_size, num_workers, augment, drop_last, cache_on_device, balanced_sampler, **augmentation
        )
        self.set_task(task)
        self.num_classes = num_classes
        self.num_samples = num_samples
        self.seed = seed

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return names, images and labels."""
        rng = np.random.default_rng(self.seed)
        colors = rng.integers(64, 192, (self.num_classes, 3, 1, 1))
        num_eval = max(self.num_samples // 4, self.num_classes)
        splits = {}
        for name, count in {"train": self.num_samples, "val": num_eval, "test": num_eval}.items():
            labels = draw_fake_labels(self.task, count, self.num_classes, rng)
            if self.task == "classification":
                base = colors[labels]
            elif self.task == "multilabel":
                # The mean of the colors of an image, so that it stays within the range of colors.
                base = np.einsum("sl,lcxy->scxy", labels, colors) / np.maximum(labels.sum(1), 1)[:, None, None, None]
            else:
                base = 64 + 128 * labels[:, None, None, None]
            noise = rng.integers(-64, 64, (count, 3, self.image_size, self.image_size), dtype=np.int16)
            splits[name] = ((base + noise).astype(np.uint8), labels)
        return make_fake_names(self.task, self.num_classes), splits
