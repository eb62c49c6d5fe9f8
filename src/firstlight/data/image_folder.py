"""Your own images: one directory per class, or labels in a table."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from firstlight.data.batch import Batch
from firstlight.data.group_column import GroupColumn
from firstlight.data.identity import make_path_identities, stamp_files, stamp_identities
from firstlight.data.image_augmentation import ImageAugmentation, make_rand_augment
from firstlight.data.image_io import CropBox, get_center_crop_box, read_image_crop
from firstlight.data.image_layout import find_split_dirs, list_labeled_images
from firstlight.data.image_table import ImageRows, find_table, read_image_tables
from firstlight.data.images import ImageDataModule
from firstlight.data.label_column import LabelColumns
from firstlight.data.path_array import get_names, take_paths
from firstlight.data.sample_splitter import HELD_OUT, Samples
from firstlight.data.seeding import SeededAugmentation
from firstlight.data.shared_files import number_contents
from firstlight.data.split_notes import describe_shared_identities
from firstlight.data.tabular import validate_encoding
from firstlight.run.errors import ConfigError, DataError, invalid_value


class ImageFolderDataModule(ImageDataModule):
    """Images in one directory per class, or images with labels in a table.

    ROOT/CLASS/*.jpg is split 80/10/10. ROOT/{train,val,test}/CLASS/*.jpg is used as it is: without "val", a tenth of
    "train" is used for validation; without "test", "val" is also the test split. See `find_split_dirs` for other names.

    With `label_column`, the labels come from metadata.csv, .jsonl or .parquet in ROOT, or in each of
    ROOT/{train,val,test}. Its column "file_name" has paths relative to it, as in Hugging Face's imagefolder.

    Args:
        root: Directory with the class directories or the table.
        label_column: Column of the table with the class, with several labels, or with the target. For several labels
            also a list of columns with 0 or 1, one per label. If None, the class directories are the labels.
        label_separator: Separates several labels in a cell that is not a JSON list.
        encoding: Encoding of the table, such as cp1252. If None, UTF-8, or UTF-16 with its byte order mark.
        task: "classification", "multilabel" (several labels per image) or "regression" (a number). If None, the task of
            the model, which the engine sets.
        image_size: Side of the crops in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers that decode images. If None, chosen for the platform.
        augment: Whether to crop and flip training images at random (Szegedy et al. 2015, section 6).
        drop_last: See `LabeledDataModule`.
        max_skipped_samples: Maximum number of unreadable images in a split, and of invalid rows, that are skipped.
        balanced_sampler: See `LabeledDataModule`.
        group_column: Column of the table with groups, such as patients. All images of a group are in the same split. If
            None, each image is assigned on its own.
        num_folds: Number of folds of a cross-validation. If None, a single split.
        fold: Index of the fold that is the test split, from 0.
        augmentation: See `ImageAugmentation`.

    Raises:
        ConfigError: If the task or `group_column` needs a `label_column`.
    """

    in_memory: ClassVar[bool] = False

    def __init__(
        self,
        root: str,
        label_column: str | list[str] | None = None,
        label_separator: str = ";",
        encoding: str | None = None,
        task: Literal["classification", "multilabel", "regression"] | None = None,
        image_size: int = 224,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = True,
        drop_last: bool = True,
        max_skipped_samples: int = 0,
        balanced_sampler: bool = False,
        group_column: str | None = None,
        num_folds: int | None = None,
        fold: int | None = None,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(image_size, batch_size, num_workers, augment, drop_last, balanced_sampler, **augmentation)
        if label_column is None and task not in (None, "classification"):
            fix = "Set data.label_column to a column of metadata.csv."
            raise ConfigError(invalid_value("data.label_column", None, f"a column for data.task={task}", fix))
        if label_column is None and group_column is not None:
            columns = f"the columns file_name, label and {group_column}"
            fix = f"Add metadata.csv with {columns}, and set data.label_column=label."
            raise ConfigError(f"data.group_column={group_column} requires labels in a table. {fix}")
        validate_encoding(encoding)
        self.root = root
        self.encoding = encoding
        self.set_task(task)
        # Class directories are read as a table with the column "class".
        self.labels = LabelColumns(self.task, label_column or "class", label_separator)
        self.has_table = label_column is not None
        self.max_skipped_samples = max_skipped_samples
        self.group = GroupColumn(group_column, self.labels.names)
        self.set_folds(num_folds, fold)

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the names of the classes or labels and the three datasets.

        Raises:
            DataError: If the directory does not exist, its layout is ambiguous, there are fewer than two classes, or a
                class has no images.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(
                f"data.root={root} is not a directory. Set data.root to a directory with one subdirectory of images "
                "per class, or with metadata.csv."
            )
        known_names = self.splitter.known_names
        if self.has_table:
            loaded = read_image_tables(root, self.labels, self.group, self.max_skipped_samples, self.encoding)
            has_split_dirs = len(loaded) > 1 or find_table(root) is None
        else:
            dirs = find_split_dirs(root)
            loaded = {name: ImageRows(*files) for name, files in list_labeled_images(dirs, known_names).items()}
            has_split_dirs = dirs["train"] != root
        raw_labels = {name: rows.labels for name, rows in loaded.items()}
        names, labels = self.labels.encode(raw_labels, str(root), known_names, is_table=self.has_table)
        num_files = self.splitter.get_dataset_size(sum(len(rows.paths) for rows in loaded.values()))
        stamps = {name: stamp_files(get_names(rows.paths), rows.labels, num_files) for name, rows in loaded.items()}
        samples = {name: self._describe_samples(rows, stamps[name]) for name, rows in loaded.items()}
        held_out = {"val": HELD_OUT["val"]} if has_split_dirs else HELD_OUT
        chosen = self.splitter.split(samples, held_out, names)
        splits = {
            name: (take_paths(loaded[key].paths, indices), np.asarray(labels[key])[indices])
            for name, (key, indices) in chosen.items()
        }
        if not self.splitter.restored:
            paths = {name: files for name, (files, _) in splits.items()}
            contents = number_contents(paths, {name: stamps[key][indices] for name, (key, indices) in chosen.items()})
            self.splitter.notes += describe_shared_identities(contents, "label, size and first 16 KB")
        splits.setdefault("test", splits["val"])
        if self.splitter.groups:
            self.splitter.groups.setdefault("test", self.splitter.groups["val"])
        return names, {name: self._make_dataset(name, *files) for name, files in splits.items()}

    def _describe_samples(self, rows: ImageRows, stamps: np.ndarray) -> Samples:
        classes = [str(label) for label in rows.labels] if self.task == "classification" else None
        identities: Sequence[str] = make_path_identities(get_names(rows.paths), self.root)
        if self.group.name is not None:
            identities, stamps = rows.groups, stamp_identities(identities, stamps)
        return Samples(identities, classes, stamps, self.root, self.group.name or "")

    def _make_dataset(self, split: str, paths: Sequence[Path], labels: Any) -> "ImageFileDataset":
        is_train, labels = split == "train", torch.as_tensor(labels, dtype=self.label_dtype)
        augment, rand_augment = is_train and self.augment, self.rand_augment if is_train else None
        return ImageFileDataset(
            paths, labels, self.image_size, augment, self.run_seed, self.max_skipped_samples, rand_augment
        )


class ImageFileDataset(SeededAugmentation):
    """Labeled image files. Unreadable ones are left out of their batch.

    Args:
        paths: The files.
        labels: Label of each file, or labels of shape (files, labels).
        image_size: Side of the images in pixels.
        augment: Whether to crop and flip at random, differently in each epoch.
        seed: Seed of the run.
        max_skipped_samples: Maximum number of unreadable files that are skipped.
        rand_augment: Magnitude of RandAugment, which follows the crop and the flip. If None, it is off.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int] | Tensor,
        image_size: int,
        augment: bool,
        seed: int = 0,
        max_skipped_samples: int = 0,
        rand_augment: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.paths = paths
        self.labels = torch.as_tensor(labels)
        self.image_size = image_size
        self.augment = augment
        self.max_skipped_samples = max_skipped_samples
        self.rand_augment = None if rand_augment is None else make_rand_augment(rand_augment)
        # In shared memory: each DataLoader worker reads some of the files.
        self.is_unreadable = torch.zeros(len(paths), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        crop_fn = get_random_resized_crop_box if self.augment else get_center_crop_box
        with self.fork_rng(index):
            image = read_image_crop(self.paths[index], self.image_size, crop_fn)
            if self.augment and torch.rand(1) < 0.5:
                image = image.flip(-1)
            if self.rand_augment is not None:
                image = self.rand_augment(image)
        return {"inputs": image, "labels": self.labels[index], "ids": torch.tensor(index)}

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
