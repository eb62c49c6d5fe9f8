"""Your own images: one folder per class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from firstlight.data.images import Images, centred, image_paths, read_image
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
        crop: Callable[[Tensor], Tensor] = Centre(self.image_size)
        if split == "train" and self.augment:
            size = [self.image_size, self.image_size]
            crop = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])
        return LabelledFiles(paths, labels, crop)

    def augmented(self, images: Tensor) -> Tensor:
        """Return the images as they are: the loader cropped and mirrored them, each from its own size."""
        return images


class Centre:
    """Crop the middle: a class, since a lambda cannot be sent to a worker process on macOS."""

    def __init__(self, size: int) -> None:
        """Keep the side in pixels."""
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """Return (3, size, size)."""
        return centred(image, self.size)


class LabelledFiles(Dataset[Any]):
    """Image files with a class each."""

    def __init__(self, paths: list[Path], labels: list[int], crop: Callable[[Tensor], Tensor]) -> None:
        """Keep paths, labels, and what brings an image to its size."""
        self.paths = paths
        self.labels = labels
        self.crop = crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        image = self.crop(read_image(self.paths[index]))
        return {"inputs": image, "labels": torch.tensor(self.labels[index]), "ids": torch.tensor(index)}


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
