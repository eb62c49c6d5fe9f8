"""Your own images: one directory per class."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from firstlight.data.batch import Batch
from firstlight.data.image_io import CropBox, get_center_crop_box, list_images, read_image_crop
from firstlight.data.images import ImageDataModule
from firstlight.data.seeding import fork_seeded_rng
from firstlight.data.split import stratified_split
from firstlight.run.errors import DataError


class ImageFolderDataModule(ImageDataModule):
    """Images in one directory per class.

    ROOT/CLASS/*.jpg is split 80/10/10. ROOT/{train,val,test}/CLASS/*.jpg is used as it is: without "val", a tenth of
    "train" is used for validation; without "test", "val" is also the test split.

    Args:
        root: Directory with the class directories.
        image_size: Side of the crops in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers that decode images. If None, chosen for the platform.
        augment: Whether to crop and flip training images at random (Szegedy et al. 2015, section 6).
        drop_last: See `LabeledDataModule`.
        max_skipped_samples: Maximum number of unreadable images in a split that are skipped.
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
        """Return the class names and the three datasets.

        Raises:
            DataError: If the directory does not exist, has fewer than two classes, or a class has no images.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(
                f"data.root={root} is not a directory. Set data.root to a directory with one subdirectory of images "
                "per class."
            )
        train_dir = root / "train" if (root / "train").is_dir() else root
        class_dirs = [path for path in train_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]
        class_names = sorted(path.name for path in class_dirs)
        if len(class_names) < 2:
            raise DataError(
                f"{train_dir} must contain at least 2 class directories, got {len(class_names)}. Add one directory of "
                "images per class."
            )
        splits = {"train": list_labeled_images(train_dir, class_names)}
        for name in ("val", "test"):
            if train_dir != root and (root / name).is_dir():
                splits[name] = list_labeled_images(root / name, class_names)
        if train_dir == root or "val" not in splits:
            paths, labels = splits["train"]
            indices = stratified_split(labels, val_fraction=0.1, test_fraction=0.1 if train_dir == root else 0)
            for name, chosen in indices.items():
                splits[name] = [paths[index] for index in chosen], [labels[index] for index in chosen]
        splits.setdefault("test", splits["val"])
        return class_names, {name: self._make_dataset(name, *files) for name, files in splits.items()}

    def _make_dataset(self, split: str, paths: list[Path], labels: list[int]) -> "ImageFileDataset":
        augment = split == "train" and self.augment
        return ImageFileDataset(paths, labels, self.image_size, augment, self.run_seed, self.max_skipped_samples)


class ImageFileDataset(Dataset[Any]):
    """Labeled image files. Unreadable ones are left out of their batch.

    Args:
        paths: The files.
        labels: Label of each file.
        image_size: Side of the images in pixels.
        augment: Whether to crop and flip at random, differently in each epoch.
        seed: Seed of the run.
        max_skipped_samples: Maximum number of unreadable files that are skipped.
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
        # In shared memory: DataLoader workers live for many epochs, and each of them reads some of the files.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self.is_unreadable = torch.zeros(len(paths), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.paths)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the augmentation, in all DataLoader workers."""
        self.epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Batch:
        crop_fn = get_random_resized_crop_box if self.augment else get_center_crop_box
        with fork_seeded_rng(self.seed, int(self.epoch), index):
            image = read_image_crop(self.paths[index], self.image_size, crop_fn)
            if self.augment and torch.rand(1) < 0.5:
                image = image.flip(-1)
        return {"inputs": image, "labels": torch.tensor(self.labels[index]), "ids": torch.tensor(index)}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        samples = []
        for index in indices:
            try:
                samples.append(self[index])
            except DataError as error:
                self._record_unreadable(index, str(error))
        if not samples:
            raise DataError(
                f"None of the {len(indices)} images in a batch can be read, e.g. {self.paths[indices[0]]}. "
                "Repair the images, or increase data.batch_size."
            )
        batch: Batch = default_collate(samples)
        return batch

    def _record_unreadable(self, index: int, message: str) -> None:
        """Count an unreadable image and print it once.

        Raises:
            DataError: If there are more than `max_skipped_samples`.
        """
        is_known = bool(self.is_unreadable[index])
        self.is_unreadable[index] = True
        count = int(self.is_unreadable.sum())
        if count > self.max_skipped_samples:
            fix = f"or skip up to {count} unreadable images with data.max_skipped_samples={count}."
            raise DataError(f"{message.removesuffix('.')}, {fix}")
        if not is_known:
            progress = f"{count} of at most {self.max_skipped_samples}"
            print(f"data: skipped unreadable image ({progress}): {message}", file=sys.stderr, flush=True)


def get_random_resized_crop_box(image: Image.Image, size: int) -> CropBox:
    """Return a random crop box: 8 to 100 % of the area, aspect ratio 3:4 to 4:3, independent of `size`."""
    # Landscape and portrait boxes are equally likely, so that a later EXIF rotation makes no difference.
    top, left, height, width = v2.RandomResizedCrop.get_params(image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return left, top, left + width, top + height


def list_labeled_images(directory: Path, class_names: list[str]) -> tuple[list[Path], list[int]]:
    """Return the images under a directory of class directories, and the label of each.

    Raises:
        DataError: If a class has no images.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        class_paths = list_images(directory / name)
        paths += class_paths
        labels += [label] * len(class_paths)
    return paths, labels
