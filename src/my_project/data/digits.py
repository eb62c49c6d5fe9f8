"""Real handwritten digits that scikit-learn carries: nothing to download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from firstlight.data.images import InMemoryImageDataModule
from firstlight.data.split import stratified_split


class DigitsDataModule(InMemoryImageDataModule):
    """1,797 digits, 10 classes, scanned at 8 x 8 and enlarged to 32 x 32.

    Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0),
    as shipped in scikit-learn (BSD-3-Clause).
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
    ) -> None:
        """Keep the settings; `ImagesInMemory` explains them.

        Raises:
            ValueError: image_size is no multiple of 8.
        """
        super().__init__(image_size, batch_size, num_workers, augment, drop_last, cache_on_device)
        if image_size % 8 or image_size < 8:
            raise ValueError(f"Digits are enlarged from 8 px, but data.image_size={image_size}: give a multiple of 8")

    def load_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels: 80 % train, 10 % val, 10 % test.

        Raises:
            ValueError: scikit-learn does not have the file.
        """
        ink, labels = load_digits()
        # Ink is 0 to 16 in the source.
        grey = np.round(ink * 255 / 16).astype(np.uint8)  # (samples, 8, 8)
        scale = self.image_size // 8
        enlarged = grey.repeat(scale, axis=1).repeat(scale, axis=2)  # (samples, size, size)
        images = np.repeat(enlarged[:, None], 3, axis=1)  # (samples, 3, size, size)
        splits = stratified_split(labels, val_fraction=0.1, test_fraction=0.1)
        return [str(digit) for digit in range(10)], {
            name: (images[chosen], labels[chosen]) for name, chosen in splits.items()
        }


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the ink of each pixel, 0 to 16, (samples, 8, 8), and the digits, (samples,).

    Raises:
        ValueError: scikit-learn does not have the file.
    """
    # Importing scikit-learn takes a second: only its folder is wanted.
    package = find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    file = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if file is None or not file.is_file():
        raise ValueError(
            "data=digits reads datasets/data/digits.csv.gz of scikit-learn: install the version that "
            "requirements/base.lock pins, by `make setup`"
        )
    rows = np.loadtxt(file, delimiter=",", dtype=np.int64)  # (samples, 65): 64 pixels, then the digit
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
