"""Real handwritten digits that scikit-learn carries: nothing to download."""

from typing import Any, ClassVar

import numpy as np
from sklearn.datasets import load_digits

from firstlight.data.images import ImagesInMemory
from firstlight.data.split import stratified


class Digits(ImagesInMemory):
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
    ) -> None:
        """Keep the settings; `Images` explains them.

        Raises:
            ValueError: image_size is no multiple of 8.
        """
        super().__init__(image_size, batch_size, num_workers, augment, drop_last)
        if image_size % 8 or image_size < 8:
            raise ValueError(f"Digits are enlarged from 8 px, but data.image_size={image_size}: give a multiple of 8")

    def arrays(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, images and labels: 80 % train, 10 % val, 10 % test."""
        digits: Any = load_digits()
        # Ink is 0 to 16 in the source.
        grey = np.round(digits.images * 255 / 16).astype(np.uint8)  # (samples, 8, 8)
        scale = self.image_size // 8
        enlarged = grey.repeat(scale, axis=1).repeat(scale, axis=2)  # (samples, size, size)
        images = np.repeat(enlarged[:, None], 3, axis=1)  # (samples, 3, size, size)
        splits = stratified(digits.target, val_fraction=0.1, test_fraction=0.1)
        return [str(name) for name in digits.target_names], {
            name: (images[chosen], digits.target[chosen]) for name, chosen in splits.items()
        }
