"""The folds of a cross-validation: consecutive ranges of the order of the samples that `split.py` describes.

Within a class of n samples, fold k of K contains the ranks floor(k * n / K + u) to floor((k + 1) * n / K + u), with
the offset u of the class. Every sample is in one fold, and the sizes of the folds of a class differ by at most one. One
more sample moves at most one other sample at each boundary. "val" is taken from the other folds, in the same order.
"""

from collections.abc import Sequence

import numpy as np

from firstlight.data.labels import list_names
from firstlight.data.split import (
    ALL_CLASSES,
    NUM_HASHES,
    SPLIT_SEED,
    SplitRule,
    assign_splits,
    count_identities_in_several_classes,
    get_fraction_ranges,
    hash_identities,
    index_names,
)
from firstlight.run.errors import DataError, invalid_value

Boundaries = tuple[int, int, int, int]


def make_fold_rules(
    hashes: np.ndarray,
    classes: Sequence[str] | None,
    num_folds: int,
    val_fraction: float,
    has_groups: bool = False,
    seed: int = SPLIT_SEED,
) -> list[SplitRule]:
    """Return the rule of each fold, with every class in the same proportion.

    Args:
        hashes: Result of `hash_identities`, shape (samples,).
        classes: Name of the class of each sample. If None, samples have no classes.
        num_folds: Number of folds, at least 2.
        val_fraction: Fraction of all samples for validation, 0 to 1.
        has_groups: Whether identities are groups. Classes are then ignored if one has fewer groups than folds.
        seed: Seed of the hashes.

    Raises:
        DataError: If a split of a fold would be empty, or a class would have no training sample.
    """
    if (num_distinct := len(np.unique(hashes))) < num_folds:
        noun = "groups" if has_groups else "distinct samples"
        expected, fix = f"at most the number of {noun} ({num_distinct})", f"Decrease it, or add {noun.split()[-1]}."
        raise DataError(invalid_value("data.num_folds", num_folds, expected, fix))
    known = classes
    if classes is None or not can_stratify(hashes, classes, num_folds if has_groups else 0):
        classes = [ALL_CLASSES] * len(hashes)
    names, class_ids = index_names(classes)
    order = np.lexsort((hashes, class_ids))
    ends = np.cumsum(np.bincount(class_ids, minlength=len(names)))
    boundaries: list[dict[str, Boundaries]] = [{} for _ in range(num_folds)]
    for name, class_hashes in zip(names, np.split(hashes[order], ends[:-1]), strict=True):
        offset = int(hash_identities([name], seed)[0]) / NUM_HASHES
        for fold, found in enumerate(find_fold_boundaries(class_hashes, num_folds, val_fraction, offset)):
            boundaries[fold][name] = found
    fractions = val_fraction, 1 / num_folds
    rules = [SplitRule(seed, *fractions, found, num_folds, fold) for fold, found in enumerate(boundaries)]
    validate_rules(rules, hashes, known, has_groups)
    return rules


def can_stratify(hashes: np.ndarray, classes: Sequence[str], min_identities: int) -> bool:
    """Return True if no identity is in several classes, and each class has a minimum number of identities."""
    if count_identities_in_several_classes(hashes, classes):
        return False
    _, class_ids = index_names(classes)
    _, first = np.unique(hashes, return_index=True)
    return bool(np.bincount(class_ids[first]).min() >= min_identities)


def find_fold_boundaries(hashes: np.ndarray, num_folds: int, val_fraction: float, offset: float) -> list[Boundaries]:
    """Return the boundaries of a class for each test fold. See `SplitRule`.

    Args:
        hashes: Sorted hashes of the samples of the class, shape (samples,).
        num_folds: Number of folds.
        val_fraction: See `SplitRule`.
        offset: Between 0 and 1; it is added to the number of samples before rounding down.
    """
    # Rank of the first sample of each identity, and the number of samples: a range begins and ends only there.
    starts = np.append(np.flatnonzero(np.diff(hashes, prepend=hashes[:1] + np.uint64(1))), len(hashes))
    num_identities = len(starts) - 1
    steps = np.arange(1, num_folds)
    inner = find_nearest(starts, np.floor(steps * len(hashes) / num_folds + offset))
    if num_identities >= num_folds:
        # A large group must not leave a fold empty. Without groups, this changes nothing.
        inner = np.maximum.accumulate(np.maximum(inner - steps, 0)) + steps
        inner = np.minimum(inner, num_identities - num_folds + steps)
    edges = [0, *inner.tolist(), num_identities]  # position in `starts` at which each fold begins
    limits = [find_hash(hashes, int(starts[edge]), fold / num_folds) for fold, edge in enumerate(edges)]
    limits[0], limits[-1] = 0, NUM_HASHES
    found = []
    for fold in range(num_folds):
        first, last = find_val_range(starts, edges, fold, val_fraction, offset)
        rank, share = int(starts[last]), min(first / num_folds + val_fraction, 1)
        end = find_hash(hashes, rank, share) if last > edges[first] else limits[first]
        found.append((limits[fold], limits[fold + 1], limits[first], end))
    return found


def find_val_range(
    starts: np.ndarray, edges: Sequence[int], fold: int, val_fraction: float, offset: float
) -> tuple[int, int]:
    """Return the fold with which "val" begins, and the position in `starts` at which it ends.

    Args:
        starts: Rank of the first sample of each identity, and the number of samples.
        edges: Position in `starts` at which each fold begins, and the last position.
        fold: Index of the test fold.
        val_fraction: See `SplitRule`.
        offset: See `find_fold_boundaries`.
    """
    num_folds, num_samples = len(edges) - 1, int(starts[-1])
    is_even = len(starts) - 1 == num_samples
    found = {}
    usual = fold + 1 if get_fraction_ranges(val_fraction, 1 / num_folds, num_folds, fold)[2] else 0
    others = [index for index in (*range(fold + 1, num_folds), *range(fold)) if index != usual]
    # Next to a large group, another place gives a better size. Without groups, all places give the same size.
    for first in [usual] if is_even else [usual, *others]:
        goal = (
            np.floor((first / num_folds + val_fraction) * num_samples + offset)
            if is_even
            else starts[edges[first]] + val_fraction * num_samples
        )
        # "val" ends before the test fold, and leaves one identity for training.
        stop = edges[fold] if first < fold else edges[-1]
        if stop - edges[first] + edges[fold + 1] - edges[fold] == edges[-1]:
            stop -= 1
        nearest = int(find_nearest(starts, np.array([goal]))[0])
        found[first] = last = max(min(max(nearest, edges[first] + (not is_even)), stop), edges[first])
        size = starts[last] - starts[edges[first]]
        if is_even or val_fraction * num_samples / 2 <= size <= 2 * val_fraction * num_samples:
            return first, last
    sizes = {first: starts[last] - starts[edges[first]] for first, last in found.items() if last > edges[first]}
    first = min(sizes, key=lambda index: abs(sizes[index] - val_fraction * num_samples), default=usual)
    return first, found[first]


def find_nearest(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the position of the start that is nearest to each number of samples; of two, the smaller one."""
    above = np.clip(np.searchsorted(starts, counts), 1, len(starts) - 1)
    return above - (counts - starts[above - 1] <= starts[above] - counts)


def find_hash(hashes: np.ndarray, rank: int, fraction: float) -> int:
    """Return a hash between the samples before and after a rank.

    Args:
        hashes: Sorted hashes, shape (samples,).
        rank: Number of samples with a smaller hash.
        fraction: Probability that a later sample between these two belongs to the range before the rank.
    """
    below = int(hashes[rank - 1]) if rank else -1
    above = int(hashes[rank]) if rank < len(hashes) else NUM_HASHES
    # The product of a large integer is rounded to a float.
    return below + 1 + min(int(fraction * (above - below - 1)), above - below - 1)


def validate_rules(
    rules: Sequence[SplitRule], hashes: np.ndarray, classes: Sequence[str] | None, has_groups: bool
) -> None:
    """Check all folds, so that a sweep over them does not fail in its last job.

    Raises:
        DataError: If a split of a fold would be empty, or a class would have no training sample.
    """
    names, class_ids = index_names(classes or [ALL_CLASSES] * len(hashes))
    what = "groups" if has_groups else "samples"
    for rule in rules:
        splits = assign_splits(hashes, classes, rule)
        prefix = f"data.num_folds={rule.num_folds} leaves fold {rule.fold} without"
        if empty := [name for name, indices in splits.items() if not len(indices)]:
            count = f"{len(np.unique(hashes)):,} distinct {what}" + (f" in {len(names)} classes" if classes else "")
            raise DataError(f"{prefix} {empty[0]} samples, because there are only {count}. Add {what}.")
        missing = np.flatnonzero(np.bincount(class_ids[splits["train"]], minlength=len(names)) == 0)
        if len(missing):
            raise DataError(
                f"{prefix} training samples of the classes: {list_names(names, missing)}. Add {what} of these classes, "
                "or remove them."
            )
