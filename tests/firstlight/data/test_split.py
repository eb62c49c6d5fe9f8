"""Splits: every sample once, every class in proportion, the same each time."""

import numpy as np
import pytest

from firstlight.data.split import stratified_split

RARE = [0] * 500 + [1] * 60 + [2] * 33 + [3] * 10


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.25, 0.1), (0.1, 0), (0, 0.2)])
def test_every_sample_is_in_one_split_and_every_class_in_proportion(val, test):
    labels = np.random.default_rng(1).permutation(RARE)
    splits = stratified_split(labels, val, test)
    shares = {"train": 1 - val - test, "val": val, "test": test}

    assert list(splits) == [name for name in ("train", "val", "test") if shares[name]]
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    for name, indices in splits.items():
        assert abs(len(indices) - shares[name] * len(labels)) <= 1
        assert np.abs(np.bincount(labels[indices]) - shares[name] * np.bincount(labels)).max() <= 1.5
        assert list(indices) == sorted(indices)


def test_what_rounding_leaves_over_goes_to_the_largest_remainders():
    # 10 of 100: 4.4, 3.7 and 1.9 samples.
    labels = np.array([0] * 44 + [1] * 37 + [2] * 19)

    assert np.bincount(labels[stratified_split(labels, 0, 0.1)["test"]]).tolist() == [4, 4, 2]


def test_the_seed_decides_the_split():
    first, again, other = (stratified_split(RARE, 0.1, 0.1, seed=seed)["test"].tolist() for seed in (0, 0, 1))

    assert first == again != other


def test_a_split_is_drawn_at_random_from_all_of_a_class():
    chosen = [set(stratified_split(RARE, 0.1, 0.1, seed=seed)["test"].tolist()) for seed in range(40)]

    assert len(set.union(*chosen)) > 0.95 * len(RARE)


def test_labels_may_be_any_values():
    assert {name: len(each) for name, each in stratified_split(["b", "a"] * 10, 0, 0.2).items()} == {
        "train": 16,
        "test": 4,
    }


def test_too_few_samples_for_a_split_are_refused():
    with pytest.raises(ValueError, match="3 samples of 2 classes .the rarest has 1. are too few for a test share of 0"):
        stratified_split([0, 0, 1], 0.1, 0.1)
