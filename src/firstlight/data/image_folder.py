"""Your own images: one folder per class."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from firstlight.data.image_file import Box, central_part, image_paths, read_image
from firstlight.data.images import Images
from firstlight.data.module import Batch
from firstlight.data.split import stratified


class ImageFolder(Images):
    """Images sorted into a folder per class.

    Either ROOT/CLASS/*.jpg, which is split 80/10/10, or ROOT/{train,val,test}/CLASS/*.jpg, which is used as it is
    (without val, a tenth of train serves; without test, val serves twice).
    """

    in_memory: ClassVar[bool] = False

    def __init__(
        self,
        root: str,
        image_size: int = 224,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = True,
        drop_last: bool = True,
    ) -> None:
        """Keep the settings.

        Args:
            root: folder that holds the class folders.
            image_size: side of the crops in pixels.
            batch_size: images per step.
            num_workers: processes that decode; None chooses for the platform.
            augment: crop and mirror training images at random (Szegedy et al. 2015, section 6).
            drop_last: as in `Images`.
        """
        super().__init__(image_size, batch_size, num_workers, augment, drop_last)
        self.root = root

    def read(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the class names and the three data sets.

        Raises:
            ValueError: the folder is missing, has fewer than two classes, or an empty one.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise ValueError(f"data.root={root} is no folder: give one that holds a folder of images per class")
        top = root / "train" if (root / "train").is_dir() else root
        class_names = sorted(each.name for each in top.iterdir() if each.is_dir() and not each.name.startswith("."))
        if len(class_names) < 2:
            raise ValueError(
                f"A classifier needs two classes or more, but {top} holds {len(class_names)} class folders"
            )
        splits = {"train": labelled(top, class_names)}
        for name in ("val", "test"):
            if top != root and (root / name).is_dir():
                splits[name] = labelled(root / name, class_names)
        if top == root or "val" not in splits:
            paths, labels = splits["train"]
            chosen = stratified(labels, val_fraction=0.1, test_fraction=0.1 if top == root else 0)
            for name, indices in chosen.items():
                splits[name] = [paths[index] for index in indices], [labels[index] for index in indices]
        splits.setdefault("test", splits["val"])
        return class_names, {name: self._files(name, *files) for name, files in splits.items()}

    def _files(self, split: str, paths: list[Path], labels: list[int]) -> "LabelledFiles":
        return LabelledFiles(paths, labels, self.image_size, augment=split == "train" and self.augment)

    def augmented(self, images: Tensor) -> Tensor:
        """Return the images as they are: the loader cropped and mirrored them, each from its own size."""
        return images


class LabelledFiles(Dataset[Any]):
    """Image files with a class each."""

    def __init__(self, paths: list[Path], labels: list[int], image_size: int, augment: bool) -> None:
        """Keep paths, labels, the side of the images in pixels, and whether they are cropped and mirrored at random."""
        self.paths = paths
        self.labels = labels
        self.image_size = image_size
        self.augment = augment

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        image = read_image(self.paths[index], self.image_size, random_part if self.augment else central_part)
        if self.augment and torch.rand(1) < 0.5:
            image = image.flip(-1)
        return {"inputs": image, "labels": torch.tensor(self.labels[index]), "ids": torch.tensor(index)}


def random_part(image: Image.Image, size: int) -> Box:
    """Return a random part of an image: 8 to 100 % of its area, 3:4 to 4:3, whatever the size in pixels."""
    # As likely wide as high, so that it does not matter that EXIF may turn it afterwards.
    top, left, height, width = v2.RandomResizedCrop.get_params(image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return left, top, left + width, top + height


def labelled(folder: Path, class_names: list[str]) -> tuple[list[Path], list[int]]:
    """Return the images below a folder of classes and the index of each one's class.

    Raises:
        ValueError: a class has no image.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = image_paths(folder / name)
        paths += found
        labels += [label] * len(found)
    return paths, labels
