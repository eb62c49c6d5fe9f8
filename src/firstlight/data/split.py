"""Split samples into train, val and test by hashes of their identities. A sample keeps its split when others change.

Within a class of n samples, the samples are ordered by their hashes. The first floor(test * n + u) samples are the test
split, and those up to floor((test + val) * n + u) are val. The offset u of a class is the hash of its name, between 0
and 1, so that the rounding of small classes adds up to the fractions over all classes.

The hashes at which the splits of a class begin and end are its boundaries. They are stored with the run: afterwards, a
sample is assigned only by its hash. `folds.py` makes the boundaries of a cross-validation, in the same order.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

# It is independent of the run's seed, so that runs stay comparable.
SPLIT_SEED = 0
# Hashes are the integers below this number.
NUM_HASHES = 2**64
# Name of the only order if samples have no classes, or if an identity occurs in several classes.
ALL_CLASSES = ""


class SplitRule(NamedTuple):
    """The rule that assigns samples to splits.

    Attributes:
        seed: Seed of the hashes.
        val_fraction: Fraction of the samples for validation, 0 to 1. If 0, there is no "val".
        test_fraction: Fraction of the samples for the test, 0 to 1. If 0, there is no "test".
        boundaries: Hashes by class. The only key is `ALL_CLASSES` if classes are ignored. Without folds, two: a sample
            with a smaller hash than the first is in "test", with a smaller hash than the second in "val", otherwise in
            "train". With folds, four: the first hash of "test", the first one after it, and the same for "val".
        num_folds: Number of folds; 0 without cross-validation.
        fold: Index of the fold that is the test split.
    """

    seed: int
    val_fraction: float
    test_fraction: float
    boundaries: Mapping[str, tuple[int, ...]]
    num_folds: int = 0
    fold: int = 0


def hash_identities(identities: Iterable[str | bytes], seed: int = SPLIT_SEED) -> np.ndarray:
    """Return the first 64 bits of the SHA-256 of seed and identity, shape (samples,) uint64.

    Args:
        identities: Whatever identifies a sample. Samples with the same identity are always in the same split, so that
            the name of a group, such as a patient, keeps its samples together.
        seed: Seed of the hashes.
    """
    prefix = b"%d:" % seed
    # Paths that are not UTF-8 contain surrogates.
    encoded = (name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass") for name in identities)
    digests = bytearray()
    for name in encoded:
        digests += hashlib.sha256(prefix + name).digest()[:8]
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def make_split_rule(
    hashes: np.ndarray,
    classes: Sequence[str] | None,
    val_fraction: float,
    test_fraction: float,
    seed: int = SPLIT_SEED,
) -> SplitRule:
    """Return the rule that splits these samples, with every class in the same proportion.

    Every class keeps at least one training sample. If an identity occurs in several classes, classes are ignored.

    Args:
        hashes: Result of `hash_identities`, shape (samples,).
        classes: Name of the class of each sample. If None, samples have no classes.
        val_fraction: See `SplitRule`.
        test_fraction: See `SplitRule`.
        seed: Seed of the hashes.
    """
    if classes is None or count_identities_in_several_classes(hashes, classes):
        classes = [ALL_CLASSES] * len(hashes)
    names, class_ids = index_names(classes)
    order = np.lexsort((hashes, class_ids))
    ends = np.cumsum(np.bincount(class_ids, minlength=len(names)))
    boundaries = {}
    for name, class_hashes in zip(names, np.split(hashes[order], ends[:-1]), strict=True):
        offset = int(hash_identities([name], seed)[0]) / NUM_HASHES
        boundaries[name] = find_boundaries(class_hashes, val_fraction, test_fraction, offset)
    return SplitRule(seed, val_fraction, test_fraction, boundaries)


def find_boundaries(hashes: np.ndarray, val_fraction: float, test_fraction: float, offset: float) -> tuple[int, int]:
    """Return the boundaries of a class. See `SplitRule`.

    Args:
        hashes: Sorted hashes of the samples of the class, shape (samples,).
        val_fraction: See `SplitRule`.
        test_fraction: See `SplitRule`.
        offset: Between 0 and 1; it is added to the number of samples before rounding down.
    """
    # A split begins only where an identity begins. The last identity is a training sample.
    starts = np.flatnonzero(np.diff(hashes, prepend=hashes[:1] + np.uint64(1)))
    found = []
    for fraction in (test_fraction, test_fraction + val_fraction):
        count = math.floor(fraction * len(hashes) + offset)
        nearest = starts[np.searchsorted(starts[1:], count) :][:2]
        start = int(min(nearest, key=lambda start: abs(start - count)))
        # Between the two hashes at the boundary, a share of `fraction` belongs to the first of them: a later sample is
        # then in the test with the probability `fraction`, also in a small class.
        below, above = int(hashes[start - 1]) if start else -1, int(hashes[start])
        found.append(below + 1 + int(fraction * (above - below - 1)))
    return found[0], found[1]


def assign_splits(hashes: np.ndarray, classes: Sequence[str] | None, rule: SplitRule) -> dict[str, np.ndarray]:
    """Return the sorted sample indices of each split.

    Args:
        hashes: Result of `hash_identities` with the seed of the rule, shape (samples,).
        classes: Name of the class of each sample. If None, samples have no classes.
        rule: A rule. The hashes of a class that it does not contain are divided by its fractions.
    """
    if classes is None or ALL_CLASSES in rule.boundaries:
        classes = [ALL_CLASSES] * len(hashes)
    names, class_ids = index_names(classes)
    ranges = np.array([get_ranges(rule, name) for name in names], dtype=object).reshape(-1, 4)
    starts = (ranges[:, ::2] % NUM_HASHES).astype(np.uint64)  # (classes, 2): of "test" and "val"
    sizes = (ranges[:, 1::2] - ranges[:, ::2]).astype(np.uint64)
    # Subtraction modulo 2^64: hashes before the start of a range become larger than its size.
    is_held_out = hashes[:, None] - starts[class_ids] < sizes[class_ids]  # (samples, 2)
    splits = {"train": ~is_held_out.any(axis=1)}
    if rule.val_fraction:
        splits["val"] = is_held_out[:, 1]
    if rule.test_fraction:
        splits["test"] = is_held_out[:, 0]
    return {name: np.flatnonzero(is_in_split) for name, is_in_split in splits.items()}


def get_ranges(rule: SplitRule, name: str) -> tuple[int, int, int, int]:
    """Return the first hash of "test", the first one after it, and the same for "val".

    Args:
        rule: A rule.
        name: Name of a class. If the rule does not contain it, all hashes are divided by the fractions of the rule.
    """
    found = rule.boundaries.get(name)
    if found is not None and len(found) == 2:
        return 0, found[0], found[0], found[1]
    if found is not None:
        return found[0], found[1], found[2], found[3]
    fractions = get_fraction_ranges(rule.val_fraction, rule.test_fraction, rule.num_folds, rule.fold)
    first, second, third, fourth = (min(int(fraction * NUM_HASHES), NUM_HASHES) for fraction in fractions)
    return first, second, third, fourth


def get_fraction_ranges(
    val_fraction: float, test_fraction: float, num_folds: int, fold: int
) -> tuple[float, float, float, float]:
    """Return where "test" begins and ends in the order of the samples, and the same for "val", from 0 to 1.

    The validation samples follow the test fold. After the last folds, they are the first ones of the order.
    """
    if not num_folds:
        return 0, test_fraction, test_fraction, test_fraction + val_fraction
    start, end = fold / num_folds, (fold + 1) / num_folds
    val_start = end if fold + 1 < num_folds and end + val_fraction <= 1 + 1e-9 else 0
    return start, end, val_start, min(val_start + val_fraction, 1)


def count_identities_in_several_classes(hashes: np.ndarray, classes: Sequence[str]) -> int:
    """Return the number of identities whose samples belong to different classes."""
    _, class_ids = index_names(classes)
    order = np.lexsort((class_ids, hashes))
    is_same_identity = np.diff(hashes[order]) == 0
    return len(np.unique(hashes[order][1:][is_same_identity & (np.diff(class_ids[order]) != 0)]))


def index_names(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the distinct names, and the index of each name in them, shape (names,) int64."""
    index = {name: position for position, name in enumerate(dict.fromkeys(names))}
    return list(index), np.fromiter(map(index.__getitem__, names), dtype=np.int64, count=len(names))
