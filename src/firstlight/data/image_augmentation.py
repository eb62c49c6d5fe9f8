"""Random augmentation of training images by libraries: RandAugment, random erasing, mixup and CutMix."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from firstlight.data.batch import Batch
from firstlight.data.image_arrays import InMemoryImageDataset
from firstlight.data.seeding import SeededAugmentation


class ImageAugmentation(TypedDict, total=False):
    """Augmentation of training images that every image dataset has. By default, all of it is off.

    Mixup, CutMix and random erasing require timm.

    Attributes:
        mixup_alpha: Mixup replaces x by lam * x + (1 - lam) * x', where x' is another image of the batch and lam is
            from Beta(alpha, alpha) (Zhang et al. 2018, section 2). The labels are mixed likewise. 0: off.
        cutmix_alpha: CutMix replaces a rectangle of x by the same rectangle of x'; its area is a fraction 1 - lam of
            the image (Yun et al. 2019, section 3.1). 0: off. With both alphas, each batch gets one of the two, with
            equal probability.
        random_erasing: Probability, 0 to 1, that a rectangle of an image is set to the mean color. Its area is 2 % to
            33 % of the image, its aspect ratio 0.3 to 3.3 (Zhong et al. 2017, section 3).
        rand_augment: Magnitude of RandAugment, an integer from 0 to 30: each image gets two random operations of this
            strength (Cubuk et al. 2019). If None, it is off.
    """

    mixup_alpha: float
    cutmix_alpha: float
    random_erasing: float
    rand_augment: int | None


def make_rand_augment(magnitude: int) -> v2.RandAugment:
    """Return torchvision's RandAugment with two operations.

    Call it with single images, because all images of a batch would get the same operations.

    Args:
        magnitude: Strength of the operations, 0 to 30.
    """
    # Bilinear, as in the reference training of torchvision. The default is the nearest pixel.
    return v2.RandAugment(magnitude=magnitude, interpolation=InterpolationMode.BILINEAR)


class RandAugmentDataset(SeededAugmentation):
    """Apply RandAugment to each image of another dataset, differently in each epoch.

    Args:
        dataset: Images in the memory of the CPU.
        magnitude: Strength of the operations, 0 to 30.
        seed: Seed of the run.
    """

    def __init__(self, dataset: InMemoryImageDataset, magnitude: int, seed: int) -> None:
        super().__init__(seed)
        self.dataset = dataset
        self.labels = dataset.labels
        self.rand_augment = make_rand_augment(magnitude)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch = self.dataset.__getitems__(indices)
        images = []
        for index, image in zip(indices, batch["inputs"], strict=True):
            with self.fork_rng(index):
                images.append(self.rand_augment(image))
        return {**batch, "inputs": torch.stack(images)}


def erase_rectangles(images: Tensor, probability: float) -> Tensor:
    """Set a random rectangle of each image to 0 with a probability, in place.

    The generator of Python determines the rectangles, which differ between the images.

    Args:
        images: Normalized, so that 0 is the mean color, (batch, 3, height, width).
        probability: Probability for each image, 0 to 1.
    """
    from timm.data.random_erasing import RandomErasing  # two seconds

    return RandomErasing(probability, device=images.device)(images)


def mix_images(
    images: Tensor, labels: Tensor, num_classes: int, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Tensor, Tensor]:
    """Mix each image with the one at its mirrored position, in place; return the images and the mixed labels.

    The generator of NumPy determines the weight and the rectangle. If the number of images is odd, the last one stays
    unmixed.

    Args:
        images: Shape (batch, 3, height, width), floats.
        labels: Index of each class, (batch,) int64.
        num_classes: Number of classes.
        mixup_alpha: See `ImageAugmentation`.
        cutmix_alpha: See `ImageAugmentation`.

    Returns:
        The images, and the probability of each class, (batch, classes) float32.
    """
    from timm.data.mixup import Mixup, mixup_target  # two seconds

    # One weight per batch, as in the published recipes of torchvision and timm. With mode="elem", timm starts several
    # kernels per image, and waits for the device in each step, because it copies the weights from unpinned memory.
    mix = Mixup(mixup_alpha, cutmix_alpha, mode="batch", label_smoothing=0.0, num_classes=num_classes)
    num_mixed = len(images) // 2 * 2
    _, targets = mix(images[:num_mixed], labels[:num_mixed])
    return images, torch.cat([targets, mixup_target(labels[num_mixed:], num_classes)])
