"""Split samples into train, val and test. Every class has the same proportion in each split."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from firstlight.run.errors import DataError


def split_by_task(
    labels: Sequence[Any] | np.ndarray, task: str, val_fraction: float, test_fraction: float
) -> dict[str, np.ndarray]:
    """Return the sample indices of each split: stratified by class, and random for any other task.

    Args:
        labels: Label of each sample, shape (samples,) or (samples, labels).
        task: "classification", "multilabel" or "regression".
        val_fraction: See `stratified_split`.
        test_fraction: See `stratified_split`.

    Raises:
        DataError: If there are too few samples.
    """
    if task == "classification":
        return stratified_split(labels, val_fraction, test_fraction)
    return random_split(len(labels), val_fraction, test_fraction)


def random_split(num_samples: int, val_fraction: float, test_fraction: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random sample indices of each split. The same arguments give the same split on every machine.

    Args:
        num_samples: Number of samples.
        val_fraction: See `stratified_split`.
        test_fraction: See `stratified_split`.
        seed: Seed of the split. It is independent of the run's seed, so that runs stay comparable.

    Raises:
        DataError: If a split would be empty.
    """
    remaining = np.random.default_rng(seed).permutation(num_samples)
    splits: dict[str, np.ndarray] = {}
    for name, fraction in {"test": test_fraction, "val": val_fraction}.items():
        if fraction:
            count = round(fraction * num_samples)
            splits[name], remaining = remaining[:count], remaining[count:]
    splits["train"] = remaining
    if not all(map(len, splits.values())):
        raise DataError(f"Too few samples for a split into {', '.join(splits)}: {num_samples}. Add samples.")
    return {name: np.sort(splits[name]) for name in ("train", "val", "test") if name in splits}


# scikit-learn's train_test_split does nearly the same, but importing scikit-learn takes 0.9 s in every command.
def stratified_split(
    labels: Sequence[int] | np.ndarray, val_fraction: float, test_fraction: float, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the sample indices of each split. The same arguments give the same split on every machine.

    Args:
        labels: Label of each sample, shape (samples,).
        val_fraction: Fraction of the samples for validation, 0 to 1. If 0, there is no "val".
        test_fraction: Fraction of the samples for the test, 0 to 1. If 0, there is no "test".
        seed: Seed of the split. It is independent of the run's seed, so that runs stay comparable.

    Raises:
        DataError: If a class has too few samples to be in every split.
    """
    labels = np.asarray(labels)
    remaining = np.random.default_rng(seed).permutation(len(labels))
    splits: dict[str, np.ndarray] = {}
    for name, fraction in {"test": test_fraction, "val": val_fraction}.items():
        if not fraction:
            continue
        count = round(fraction * len(labels))
        classes, class_sizes = np.unique(labels[remaining], return_counts=True)
        if class_sizes.min() < 2 or count < len(classes) or len(remaining) - count < len(classes):
            raise DataError(
                f"Too few samples for a stratified split: {len(labels)} samples in {len(classes)} classes (smallest "
                f"class: {class_sizes.min()}) with a {name} fraction of {fraction}. Add samples."
            )
        is_selected = mark_stratified_subset(labels[remaining], count)
        splits[name], remaining = remaining[is_selected], remaining[~is_selected]
    splits["train"] = remaining
    return {name: np.sort(splits[name]) for name in ("train", "val", "test") if name in splits}


def mark_stratified_subset(labels: np.ndarray, count: int) -> np.ndarray:
    """Return a mask of the first samples of each class, with every class in its proportion of all samples.

    Args:
        labels: Label of each sample, shape (samples,).
        count: Number of samples to select.

    Returns:
        Shape (samples,) bool, with `count` values True.
    """
    _, class_ids, class_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact_counts = class_sizes * count / len(labels)
    counts = np.floor(exact_counts).astype(int)
    # The samples left over by rounding down go to the classes with the largest remainders.
    counts[np.argsort(counts - exact_counts, kind="stable")[: count - counts.sum()]] += 1
    by_class = np.argsort(class_ids, kind="stable")
    # Index of each sample within its class, from 0.
    index_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(class_sizes) - class_sizes, class_sizes)
    is_selected = np.empty(len(labels), dtype=bool)
    is_selected[by_class] = index_in_class < np.repeat(counts, class_sizes)
    return is_selected
