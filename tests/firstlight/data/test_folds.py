"""Folds: every sample is tested once, classes keep their proportions, and one more sample moves few others."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.data.folds import find_fold_boundaries, make_fold_rules
from firstlight.data.split import ALL_CLASSES, NUM_HASHES, assign_splits, hash_identities
from firstlight.run.errors import DataError

# Number of samples of each class, and the number of folds.
CLASS_SIZES = st.lists(st.integers(30, 80), min_size=1, max_size=4)
NUM_FOLDS = st.integers(2, 12)


def make_samples(sizes, prefix=""):
    """Return identities, and the class of each."""
    classes = [f"class {index}" for index, size in enumerate(sizes) for _ in range(size)]
    return [f"{prefix}{index}" for index in range(len(classes))], classes


def split_folds(identities, classes, num_folds, **kwargs):
    """Return the splits of each fold."""
    hashes = hash_identities(identities)
    rules = make_fold_rules(hashes, classes, num_folds, 0.1, **kwargs)
    return [assign_splits(hashes, classes, rule) for rule in rules]


def find_test_folds(identities, classes, num_folds):
    """Return the fold that tests each identity."""
    folds = split_folds(identities, classes, num_folds)
    return {identities[index]: fold for fold, splits in enumerate(folds) for index in splits["test"]}


@given(CLASS_SIZES, NUM_FOLDS, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_every_sample_is_tested_once_and_class_sizes_agree_within_one(sizes, num_folds, prefix):
    identities, classes = make_samples(sizes, f"{prefix}/")
    folds = split_folds(identities, classes, num_folds)

    assert np.array_equal(np.sort(np.concatenate([splits["test"] for splits in folds])), np.arange(len(identities)))
    for splits in folds:
        parts = [set(indices.tolist()) for indices in splits.values()]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(identities)
        for name, size in Counter(classes).items():
            tested, validated = (sum(classes[i] == name for i in splits[part]) for part in ("test", "val"))
            assert abs(tested - size / num_folds) < 1
            assert abs(validated - 0.1 * size) < 2  # between two rounded boundaries
            assert tested + validated < size


@given(CLASS_SIZES, NUM_FOLDS, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_one_more_sample_moves_at_most_one_other_at_each_boundary(sizes, num_folds, prefix):
    identities, classes = make_samples(sizes, f"{prefix}/")
    before = find_test_folds(identities, classes, num_folds)
    after = find_test_folds([*identities, "new"], [*classes, classes[0]], num_folds)
    moved = [(before[name], after[name], classes[index]) for index, name in enumerate(identities)]
    moved = [change for change in moved if change[0] != change[1]]

    assert all(abs(old - new) == 1 and name == classes[0] for old, new, name in moved)
    assert len({frozenset(change[:2]) for change in moved}) == len(moved)


@given(st.lists(st.integers(1, 40), min_size=12, max_size=60), st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_groups_are_never_in_two_splits_and_no_fold_is_empty(group_sizes, num_folds, prefix):
    groups = [f"{prefix}/{index}" for index, size in enumerate(group_sizes) for _ in range(size)]
    hashes = hash_identities(groups)
    found = find_fold_boundaries(np.sort(hashes), num_folds, 0.1, 0.5)
    tested = []
    for start, end, val_start, val_end in found:
        names = {
            name: {group for group, value in zip(groups, hashes.tolist(), strict=True) if first <= value < last}
            for name, first, last in (("test", start, end), ("val", val_start, val_end))
        }
        assert names["test"]
        assert not names["test"] & names["val"]
        assert len(names["test"] | names["val"]) < len(set(groups))
        tested += names["test"]

    assert sorted(tested) == sorted(set(groups))
    assert (found[0][0], found[-1][1]) == (0, NUM_HASHES)


def test_a_fold_is_a_range_of_the_order_of_the_hashes():
    identities, _ = make_samples([100])
    ordered = sorted(identities, key=lambda name: int(hash_identities([name])[0]))
    offset = int(hash_identities([ALL_CLASSES])[0]) / NUM_HASHES
    folds = split_folds(identities, None, 7)
    edges = [int(fold * 100 / 7 + offset) for fold in range(7)] + [100]
    found = [{name: {identities[index] for index in ids} for name, ids in splits.items()} for splits in folds]

    for fold, splits in enumerate(found):
        assert splits["test"] == set(ordered[edges[fold] : edges[fold + 1]])
        # Validation samples follow the test fold, and are the first ones after the last fold.
        first, share = (edges[fold + 1], (fold + 1) / 7 + 0.1) if fold < 6 else (0, 0.1)
        assert splits["val"] == set(ordered[first : int(share * 100 + offset)])


@pytest.mark.parametrize("num_folds", [3, 5])
def test_classes_of_two_samples_are_tested_once_and_trained_on(num_folds):
    identities, classes = make_samples([2] * 1_000)
    folds = split_folds(identities, classes, num_folds)

    assert sorted(np.concatenate([splits["test"] for splits in folds])) == list(range(2_000))
    for splits in folds:
        assert {classes[index] for index in splits["train"]} == set(classes)
        # Standard deviation of the sum of 1,000 rounded sizes: below sqrt(1,000) / 2 = 16.
        assert abs(len(splits["test"]) - 2_000 / num_folds) < 80


def test_group_with_half_of_the_samples_is_one_fold():
    groups = ["big"] * 100 + [str(index) for index in range(100)]
    folds = split_folds(groups, ["a", "b"] * 100, 5, has_groups=True)
    big = [fold for fold, splits in enumerate(folds) if set(range(100)) & set(splits["test"].tolist())]

    assert len(big) == 1
    assert set(range(100)) <= set(folds[big[0]]["test"].tolist())
    assert sum(len(splits["test"]) for splits in folds) == 200
    assert min(len(splits["test"]) for splits in folds) > 0


def test_groups_of_a_class_with_fewer_groups_than_folds_have_one_order():
    groups = [f"a{index // 10}" for index in range(100)] + [f"b{index // 10}" for index in range(30)]
    classes = ["a"] * 100 + ["b"] * 30
    hashes = hash_identities(groups)

    assert list(make_fold_rules(hashes, classes, 5, 0.1, has_groups=True)[0].boundaries) == [ALL_CLASSES]
    assert list(make_fold_rules(hashes, classes, 3, 0.1, has_groups=True)[0].boundaries) == ["a", "b"]


@pytest.mark.parametrize(
    ("identities", "classes", "num_folds", "message"),
    [
        (["x"] * 50, None, 2, r"data.num_folds: expected at most the number of distinct samples \(1\), got 2"),
        (list("abc"), None, 4, r"at most the number of distinct samples \(3\), got 4. Decrease it, or add samples."),
        (
            [*map(str, range(60))],
            ["a"] * 59 + ["b"],
            5,
            "leaves fold . without training samples of the classes: b",
        ),
        (
            list("abcd"),
            list("xxyy"),
            2,
            "leaves fold 0 without val samples, because there are only 4 distinct",
        ),
    ],
)
def test_impossible_folds_are_rejected_in_every_fold(identities, classes, num_folds, message):
    with pytest.raises(DataError, match=message):
        make_fold_rules(hash_identities(identities), classes, num_folds, 0.1)


def test_new_class_and_new_samples_are_assigned_by_their_hashes():
    identities, classes = make_samples([200])
    rules = make_fold_rules(hash_identities(identities), classes, 4, 0.1)
    new = hash_identities([f"new {index}" for index in range(4_000)])

    for label in ("class 0", "other"):
        tested = [assign_splits(new, [label] * len(new), rule)["test"] for rule in rules]
        assert sorted(np.concatenate(tested)) == list(range(4_000))
        # Standard deviation of a count: sqrt(4,000 * 0.25 * 0.75) = 27, and the boundaries are those of 200 samples.
        assert all(abs(len(indices) - 1_000) < 250 for indices in tested)
