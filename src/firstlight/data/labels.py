"""What the labels of a data set must be for a classifier to learn from them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def validate_labels(name: str, labels: Sequence[int] | Tensor, class_names: list[str]) -> None:
    """Refuse labels that are no position in the class names, and a training without a sample of some class.

    Args:
        name: split; only that of "train" must have every class.
        labels: class of each sample, shape (samples,).
        class_names: name of each class.

    Raises:
        ValueError: there are fewer than two classes, a label is not one of 0 to classes - 1, or a class is empty.
    """
    if len(class_names) < 2:
        raise ValueError(
            f"A classifier needs two classes or more, but the data has {class_names}: add samples of others"
        )
    values = np.asarray(labels)
    # A label that numbers cannot hold makes an array of objects; one of none is float.
    whole = values.dtype.kind in "iu" or not len(values)
    wrong = (values < 0) | (values >= len(class_names)) if whole else [not isinstance(each, int) for each in labels]
    if np.any(wrong):
        position = int(np.argmax(wrong))
        raise ValueError(
            f"A label is 0 to {len(class_names) - 1}, one for each class, but sample {position} of the {name} split "
            f"has {labels[position]}: correct it, or name all classes"
        )
    empty = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=len(class_names)) == 0)
    if name == "train" and len(empty):
        names = ", ".join(class_names[index] for index in empty[:9])
        more = f" and {len(empty) - 9} more" if len(empty) > 9 else ""
        raise ValueError(f"Each class needs a training sample, but {names}{more} has none: add some, or leave it out")
