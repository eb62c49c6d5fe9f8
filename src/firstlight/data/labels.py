"""Check that a classifier can learn from the labels of a dataset."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from firstlight.run.errors import DataError

# A message names at most this many classes.
MAX_LISTED_CLASSES = 9


def validate_labels(split: str, labels: Sequence[int] | Tensor, class_names: list[str]) -> None:
    """Check that every label is the index of a class, and that every class has a training sample.

    Args:
        split: Name of the split. Only "train" must contain every class.
        labels: Label of each sample, shape (samples,).
        class_names: Name of each class.

    Raises:
        DataError: If there are fewer than two classes, a label is not the index of a class, or a class has no training
            sample.
    """
    if len(class_names) < 2:
        raise DataError(
            f"A classifier requires at least two classes, but the data has {class_names}. Add samples of other classes."
        )
    values = np.asarray(labels)
    # Values that are not numbers make an array of objects. An array without values is float.
    is_integer = values.dtype.kind in "iu" or not len(values)
    if is_integer:
        is_invalid = (values < 0) | (values >= len(class_names))
    else:
        is_invalid = np.array([not isinstance(label, int) for label in labels])
    if is_invalid.any():
        position = int(np.argmax(is_invalid))
        raise DataError(
            f"Invalid label of sample {position} in the {split} split: expected an integer from 0 to "
            f"{len(class_names) - 1}, got {labels[position]}. Fix the label, or add the missing class names."
        )
    missing = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=len(class_names)) == 0)
    if split == "train" and len(missing):
        names = ", ".join(class_names[index] for index in missing[:MAX_LISTED_CLASSES])
        rest = f" and {len(missing) - MAX_LISTED_CLASSES} more" if len(missing) > MAX_LISTED_CLASSES else ""
        raise DataError(f"No training samples for the classes: {names}{rest}. Add samples, or remove these classes.")
