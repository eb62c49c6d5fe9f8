"""Image datasets: uint8 up to the device, where a batch is augmented and normalized as a whole."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from firstlight.data.batch import Batch
from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.identity import stamp_labels
from firstlight.data.image_arrays import InMemoryImageDataset, shift_images
from firstlight.data.image_augmentation import ImageAugmentation, RandAugmentDataset, erase_rectangles, mix_images
from firstlight.data.image_files import describe_missing_images, list_images, report_ignored
from firstlight.data.image_io import get_center_crop_box, read_image_crop
from firstlight.data.normalization import IMAGENET_MEAN, IMAGENET_STD, normalize
from firstlight.data.sample_splitter import HELD_OUT, Samples
from firstlight.data.sampler import ResumableSampler
from firstlight.data.seeding import fork_seeded_rngs, random_uniform
from firstlight.data.split import hash_identities
from firstlight.data.split_notes import describe_shared_identities
from firstlight.data.unlabeled_images import UnlabeledImageDataset
from firstlight.run.errors import DataError

# Images in splits of their own are compared up to this size, which takes about a second.
MAX_BYTES_TO_COMPARE = 2**30


class ImageDataModule(LabeledDataModule):
    """Labeled RGB images of one size.

    The "inputs" of a batch are uint8 (batch, 3, size, size) in the dataloader. On the device, they are normalized with
    the mean and standard deviation that the model states, or else of ImageNet, in the trainer's precision.

    Args:
        image_size: Side of the square images in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers. If None, chosen for the platform.
        augment: Whether to shift and flip the training images at random, as `max_shift` and `horizontal_flip` say.
        drop_last: Whether to drop an incomplete last training batch.
        balanced_sampler: See `LabeledDataModule`.
        augmentation: See `ImageAugmentation`.
    """

    modality: ClassVar[str] = "images"
    # Largest random shift of training images in pixels; 0 disables it.
    max_shift: ClassVar[int] = 0
    # Whether half of the training images are flipped.
    horizontal_flip: ClassVar[bool] = False
    # Side of the images before they were enlarged to image_size; None if they were not.
    native_size: ClassVar[int | None] = None

    def __init__(
        self,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = False,
        drop_last: bool = True,
        balanced_sampler: bool = False,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(batch_size, num_workers, drop_last, balanced_sampler)
        self.image_size = image_size
        self.augment = augment
        self.mixup_alpha = augmentation.get("mixup_alpha", 0.0)
        self.cutmix_alpha = augmentation.get("cutmix_alpha", 0.0)
        self.random_erasing = augmentation.get("random_erasing", 0.0)
        self.rand_augment = augmentation.get("rand_augment")
        # Mean and standard deviation of the RGB channels, for pixels from 0 to 1.
        self.mean: tuple[float, ...] = IMAGENET_MEAN
        self.std: tuple[float, ...] = IMAGENET_STD

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and the standard deviation of the RGB channels, for pixels from 0 to 1."""
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the labels and image sizes, for the constructor of the model."""
        return {
            **self.label_metadata,
            "image_size": self.image_size,
            "native_size": self.native_size or self.image_size,
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (in training) and normalize a batch on the device.

        Args:
            batch: Its "inputs" are (batch, 3, size, size) uint8. They become floats of the trainer's precision. With
                mixup or CutMix, its "labels" become the probability of each class, (batch, classes) float32.
            dataloader_idx: Unused.
        """
        assert self.trainer is not None
        images = batch["inputs"]
        if self.augment and self.trainer.training:
            images = self.augment_batch(images, batch["ids"], self.trainer.current_epoch)
        if getattr(self.trainer, "channels_last", False):
            # Converted here, at one byte per value: the first convolution would convert four.
            images = images.contiguous(memory_format=torch.channels_last)
        batch = {**batch, "inputs": normalize(images, self.mean, self.std)}
        if self.trainer.training and (self.random_erasing or self.mixup_alpha or self.cutmix_alpha):
            batch = self.erase_and_mix(batch)
        # The trainer's precision determines the dtype, e.g. bfloat16 with bf16-true.
        return {**batch, "inputs": self.trainer.precision_plugin.convert_input(batch["inputs"])}

    def erase_and_mix(self, batch: Batch) -> Batch:
        """Return a normalized batch after random erasing, and then mixup or CutMix, as far as they are on.

        The seed of the run, the epoch, the number of the batch in the epoch, and the rank determine the result.
        """
        assert self.trainer is not None
        images, labels = batch["inputs"], batch["labels"]
        # Not the step, because each batch of an accumulated step is mixed differently.
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        rank, epoch = self.trainer.global_rank, self.trainer.current_epoch
        with fork_seeded_rngs(self.run_seed, epoch, progress.processed, rank):
            if self.random_erasing:
                images = erase_rectangles(images, self.random_erasing)
            if self.mixup_alpha or self.cutmix_alpha:
                images, labels = mix_images(images, labels, len(self.class_names), self.mixup_alpha, self.cutmix_alpha)
        return {**batch, "inputs": images, "labels": labels}

    def augment_batch(self, images: Tensor, ids: Tensor, epoch: int) -> Tensor:
        """Return a batch with each image shifted and flipped at random, (batch, 3, size, size) uint8.

        Args:
            images: Shape (batch, 3, size, size), uint8.
            ids: Index of each image in its split, shape (batch,) int64. IDs, seed and epoch determine the augmentation.
            epoch: Epoch of the training, from 0.
        """
        if not (self.max_shift or self.horizontal_flip):
            return images
        down, right, flip = random_uniform(ids, self.run_seed, epoch, count=3)
        if self.max_shift:
            num_shifts = 2 * self.max_shift + 1
            images = shift_images(images, self.max_shift, (down * num_shifts).long(), (right * num_shifts).long())
        if self.horizontal_flip:
            images = torch.where((flip < 0.5).view(-1, 1, 1, 1), images.flip(-1), images)
        return images

    def load_predict_inputs(self, paths: list[Path]) -> tuple[list[str], Dataset[Any]]:
        """Return the paths of images, and of the images under directories, and their dataset.

        Raises:
            DataError: If a directory contains no image.
        """
        images: list[Path] = []
        for path in paths:
            listing = list_images(path)
            report_ignored(path, listing.ignored)
            if not listing.names:
                raise DataError(describe_missing_images(path, listing.ignored))
            images += listing.paths
        return [str(path) for path in images], UnlabeledImageDataset(images, self.image_size)

    def make_predict_dataset(self, values: Sequence[bytes]) -> Dataset[Any]:
        """Return the dataset of images in memory: the contents of image files."""
        return UnlabeledImageDataset(values, self.image_size)

    def get_read_error(self, name: str) -> str:
        """Return the error message of reading this file."""
        try:
            read_image_crop(Path(name), self.image_size, get_center_crop_box)
        except DataError as error:
            return str(error)
        return f"{name} could not be read"


class InMemoryImageDataModule(ImageDataModule):
    """Images that fit into memory as one array, on CUDA into GPU memory. A subclass implements `load_arrays`.

    Args:
        image_size: Side of the square images in pixels.
        batch_size: Images per step and device.
        num_workers: DataLoader workers. If None, there are none. Workers disable `cache_on_device`.
        augment: Whether to augment training images. See `ImageDataModule`.
        drop_last: Whether to drop an incomplete last training batch.
        cache_on_device: Whether to hold all images in GPU memory on CUDA, where batches are then assembled. RandAugment
            keeps the training images in CPU memory.
        balanced_sampler: See `LabeledDataModule`.
        num_folds: Number of folds of a cross-validation. If None, a single split.
        fold: Index of the fold that is the test split, from 0.
        augmentation: See `ImageAugmentation`.
    """

    def __init__(
        self,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = False,
        drop_last: bool = True,
        cache_on_device: bool = True,
        balanced_sampler: bool = False,
        num_folds: int | None = None,
        fold: int | None = None,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(image_size, batch_size, num_workers, augment, drop_last, balanced_sampler, **augmentation)
        self.cache_on_device = cache_on_device and not num_workers
        self.set_folds(num_folds, fold)

    def make_dataloader(self, dataset: Dataset[Any], sampler: ResumableSampler | None = None) -> DataLoader[Any]:
        """Return the dataloader of a dataset, which is moved to GPU memory if `cache_on_device` is set."""
        loader = super().make_dataloader(dataset, sampler)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self.cache_on_device and device.type == "cuda" and isinstance(dataset, InMemoryImageDataset):
            dataset.to(device)
            loader.pin_memory = False  # only CPU memory can be pinned
        return loader

    @abstractmethod
    def load_arrays(self) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return names and, by split, images (samples, 3, size, size) uint8 and labels, as `load_splits` does.

        If "val" or "test" is missing, a tenth of "train" is taken for it, with every class in the same proportion.
        """

    def identify_images(self, images: np.ndarray) -> list[bytes]:
        """Return what identifies each image of (images, 3, size, size): its pixels. Equal images share a split."""
        return [image.tobytes() for image in images]

    def load_splits(self) -> tuple[list[str], dict[str, Dataset[Any]]]:
        """Return the names of the classes or labels and the three datasets."""
        names, splits = self.load_arrays()
        self.splitter.require_undivided(splits)
        has_own_splits = len(splits) > 1
        if missing := {name: fraction for name, fraction in HELD_OUT.items() if name not in splits}:
            images, labels = splits["train"][0], np.asarray(splits["train"][1])
            identities, classes = self.identify_images(images), self.name_classes("train", labels, names)
            samples = Samples(identities, classes, stamp_labels(labels.tolist()), noun="pixels")
            chosen = self.splitter.split({"train": samples}, missing, names)
            splits |= {name: (images[indices], labels[indices]) for name, (_, indices) in chosen.items()}
        arrays = {name: np.asarray(images) for name, (images, _) in splits.items()}
        if has_own_splits and sum(images.nbytes for images in arrays.values()) <= MAX_BYTES_TO_COMPARE:
            pixels = {name: hash_identities(self.identify_images(images)) for name, images in arrays.items()}
            self.splitter.notes += describe_shared_identities(pixels, "pixels")
        dtype = self.label_dtype
        datasets: dict[str, Any] = {name: InMemoryImageDataset(*arrays, dtype) for name, arrays in splits.items()}
        if self.rand_augment is not None:
            datasets["train"] = RandAugmentDataset(datasets["train"], self.rand_augment, self.run_seed)
        return names, datasets
