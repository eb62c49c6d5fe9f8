"""Split samples into train, val and test, with every class in the same proportion in each."""

from collections.abc import Sequence

import numpy as np


# scikit-learn's train_test_split does nearly the same, but importing scikit-learn takes 0.9 s of every start.
def stratified_split(
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
    rest = np.random.default_rng(seed).permutation(len(labels))
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
        taken = mark_first_of_each_class(labels[rest], count)
        splits[name], rest = rest[taken], rest[~taken]
    splits["train"] = rest
    return {name: np.sort(splits[name]) for name in ("train", "val", "test") if name in splits}


def mark_first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Say which samples to take, `count` in all: the first ones of each class, as many as its share of all samples.

    Args:
        labels: class of each sample, shape (samples,).
        count: samples to take.

    Returns:
        Shape (samples,) bool.
    """
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact = sizes * count / len(labels)
    shares = np.floor(exact).astype(int)
    # What rounding down left over goes to the classes that lost most by it.
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    by_class = np.argsort(classes, kind="stable")
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within its class, from 0
    taken = np.empty(len(labels), dtype=bool)
    taken[by_class] = place < np.repeat(shares, sizes)
    return taken
