"""Your own images: one folder per class."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from firstlight.data.datamodule import Batch
from firstlight.data.image_io import CropBox, get_center_crop_box, list_images, read_image_crop
from firstlight.data.images import ImageDataModule
from firstlight.data.seeding import make_seeded_generator
from firstlight.data.split import stratified_split


class ImageFolderDataModule(ImageDataModule):
    """Images sorted into a folder per class.

    Either ROOT/CLASS/*.jpg, which is split 80/10/10, or ROOT/{train,val,test}/CLASS/*.jpg, which is used as it is
    (without val, a tenth of train serves; without test, val serves twice).

    Args:
        root: folder that holds the class folders.
        image_size: side of the crops in pixels.
        batch_size: images per step.
        num_workers: processes that decode; None chooses for the platform.
        augment: crop and mirror training images at random (Szegedy et al. 2015, section 6).
        drop_last: as in `Images`.
        max_skipped_samples: images of a split that may be unreadable and are left out.
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
        max_skipped_samples: int = 0,
    ) -> None:
        super().__init__(image_size, batch_size, num_workers, augment, drop_last)
        self.root = root
        self.max_skipped_samples = max_skipped_samples

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
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
        splits = {"train": list_labeled_images(top, class_names)}
        for name in ("val", "test"):
            if top != root and (root / name).is_dir():
                splits[name] = list_labeled_images(root / name, class_names)
        if top == root or "val" not in splits:
            paths, labels = splits["train"]
            chosen = stratified_split(labels, val_fraction=0.1, test_fraction=0.1 if top == root else 0)
            for name, indices in chosen.items():
                splits[name] = [paths[index] for index in indices], [labels[index] for index in indices]
        splits.setdefault("test", splits["val"])
        return class_names, {name: self._make_dataset(name, *files) for name, files in splits.items()}

    def _make_dataset(self, split: str, paths: list[Path], labels: list[int]) -> "ImageFileDataset":
        augment = split == "train" and self.augment
        return ImageFileDataset(paths, labels, self.image_size, augment, self.run_seed, self.max_skipped_samples)


class ImageFileDataset(Dataset[Any]):
    """Image files with a class each; those that cannot be read are left out of their batch.

    Args:
        paths: the files.
        labels: class of each.
        image_size: side of the images in pixels.
        augment: crop and mirror at random, each image anew in each epoch.
        seed: seed of the run.
        max_skipped_samples: files that may be unreadable.
    """

    def __init__(
        self,
        paths: list[Path],
        labels: list[int],
        image_size: int,
        augment: bool,
        seed: int = 0,
        max_skipped_samples: int = 0,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.max_skipped_samples = max_skipped_samples
        # Shared by the processes of a loader, which live for many epochs and each meet some of the bad files.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self.bad = torch.zeros(len(paths), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.paths)

    def set_epoch(self, epoch: int) -> None:
        """Crop and mirror as in this epoch from now on, in every process."""
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Batch:
        with make_seeded_generator(self.seed, int(self.epoch), index):
            image = read_image_crop(
                self.paths[index], self.image_size, get_random_resized_crop_box if self.augment else get_center_crop_box
            )
            if self.augment and torch.rand(1) < 0.5:
                image = image.flip(-1)
        return {"inputs": image, "labels": torch.tensor(self.labels[index]), "ids": torch.tensor(index)}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        samples = []
        for index in indices:
            try:
                samples.append(self[index])
            except ValueError as error:
                self._skip_unreadable(index, str(error))
        if not samples:
            raise ValueError(
                f"A batch needs an image, but none of its {len(indices)} can be read, such as "
                f"{self.paths[indices[0]]}: repair them, or change data.batch_size"
            )
        batch: Batch = default_collate(samples)
        return batch

    def _skip_unreadable(self, index: int, why: str) -> None:
        known = bool(self.bad[index])
        self.bad[index] = True
        count = int(self.bad.sum())
        if count > self.max_skipped_samples:
            raise ValueError(f"{why}, or allow for {count} such images by data.max_skipped_samples={count}")
        if not known:
            print(f"data: left out, {count} of at most {self.max_skipped_samples}: {why}", file=sys.stderr, flush=True)


def get_random_resized_crop_box(image: Image.Image, size: int) -> CropBox:
    """Return a random part of an image: 8 to 100 % of its area, 3:4 to 4:3, whatever the size in pixels."""
    # As likely wide as high, so that it does not matter that EXIF may turn it afterwards.
    top, left, height, width = v2.RandomResizedCrop.get_params(image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return left, top, left + width, top + height


def list_labeled_images(folder: Path, class_names: list[str]) -> tuple[list[Path], list[int]]:
    """Return the images below a folder of classes and the index of each one's class.

    Raises:
        ValueError: a class has no image.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = list_images(folder / name)
        paths += found
        labels += [label] * len(found)
    return paths, labels
