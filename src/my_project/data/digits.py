"""Real handwritten digits from the package scikit-learn, without a download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from firstlight.data.image_augmentation import ImageAugmentation
from firstlight.data.images import InMemoryImageDataModule
from firstlight.run.errors import ConfigError, DataError, MissingPackageError, invalid_value, missing_package, not_found


class DigitsDataModule(InMemoryImageDataModule):
    """1,797 digits in 10 classes, scanned at 8 x 8 pixels and enlarged to 32 x 32.

    Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0),
    as shipped in scikit-learn (BSD-3-Clause).

    The arguments are described in `InMemoryImageDataModule`.

    Raises:
        ConfigError: If `image_size` is not a multiple of 8.
    """

    max_shift: ClassVar[int] = 2
    native_size: ClassVar[int | None] = 8

    def __init__(
        self,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        augment: bool = False,
        drop_last: bool = True,
        cache_on_device: bool = True,
        num_folds: int | None = None,
        fold: int | None = None,
        **augmentation: Unpack[ImageAugmentation],
    ) -> None:
        super().__init__(
            image_size=image_size,
            batch_size=batch_size,
            num_workers=num_workers,
            augment=augment,
            drop_last=drop_last,
            cache_on_device=cache_on_device,
            num_folds=num_folds,
            fold=fold,
            **augmentation,
        )
        if image_size % 8 or image_size < 8:
            expected = "a multiple of 8 (the digits have 8 x 8 pixels)"
            raise ConfigError(invalid_value("data.image_size", image_size, expected, "Use e.g. data.image_size=32."))

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels. A tenth each is taken for val and test."""
        ink, labels = load_digits()
        gray = np.round(ink * 255 / 16).astype(np.uint8)  # (samples, 8, 8)
        scale = self.image_size // 8
        enlarged = gray.repeat(scale, axis=1).repeat(scale, axis=2)  # (samples, size, size)
        images = np.repeat(enlarged[:, None], 3, axis=1)  # (samples, 3, size, size)
        class_names = [str(digit) for digit in range(10)]
        return class_names, {"train": (images, labels)}

    def identify_images(self, images: np.ndarray) -> list[bytes]:
        """Return the 8 x 8 pixels of each digit, so that `image_size` does not change the split."""
        scale = self.image_size // 8
        return super().identify_images(images[:, 0, ::scale, ::scale])


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the ink of each pixel, 0 to 16, shape (samples, 8, 8), and the digits, shape (samples,).

    Raises:
        MissingPackageError: If scikit-learn is not installed.
        DataError: If scikit-learn does not contain the file.
    """
    # Importing scikit-learn takes a second. Only its directory is needed.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(missing_package("data=digits", "scikit-learn"))
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        fix = "Install the version of scikit-learn in requirements/base.lock with `make setup`."
        raise DataError(not_found(str(file), fix))
    rows = np.loadtxt(file, delimiter=",", dtype=np.int64)  # (samples, 65): 64 pixels, then the digit
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
