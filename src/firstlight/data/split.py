"""Split samples into train, val and test, with every class in the same proportion in each."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split


def stratified(
    labels: Sequence[int] | np.ndarray, val_fraction: float, test_fraction: float, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the indices of each split; the same arguments give the same split everywhere.

    Args:
        labels: class of each sample, shape (samples,).
        val_fraction: share for validation, 0 to 1.
        test_fraction: share for the test, 0 to 1; 0 leaves "test" out.
        seed: chooses among the possible splits. It is no `seed` of a run: runs must stay comparable.

    Raises:
        ValueError: a class has too few samples to be in every split.
    """
    labels = np.asarray(labels)
    rest = np.arange(len(labels))
    splits: dict[str, np.ndarray] = {}
    for name, fraction in {"test": test_fraction, "val": val_fraction}.items():
        if not fraction:
            continue
        count = round(fraction * len(labels))
        values, counts = np.unique(labels[rest], return_counts=True)
        if counts.min() < 2 or count < len(values) or len(rest) - count < len(values):
            raise ValueError(
                f"Every split needs each class, but {len(labels)} samples of {len(values)} classes "
                f"(the rarest has {counts.min()}) are too few for a {name} share of {fraction}: add samples"
            )
        rest, splits[name] = train_test_split(rest, test_size=count, stratify=labels[rest], random_state=seed)
    splits["train"] = rest
    return {name: np.sort(splits[name]) for name in ("train", "val", "test") if name in splits}
