"""Stratified splits: each sample once, every class in proportion, reproducible."""

import numpy as np
import pytest

from firstlight.data.split import stratified_split
from firstlight.run.errors import DataError

IMBALANCED = [0] * 500 + [1] * 60 + [2] * 33 + [3] * 10


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.25, 0.1), (0.1, 0), (0, 0.2)])
def test_each_sample_is_in_one_split_and_classes_are_in_proportion(val, test):
    labels = np.random.default_rng(1).permutation(IMBALANCED)
    splits = stratified_split(labels, val, test)
    fractions = {"train": 1 - val - test, "val": val, "test": test}

    assert list(splits) == [name for name in ("train", "val", "test") if fractions[name]]
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    for name, indices in splits.items():
        assert abs(len(indices) - fractions[name] * len(labels)) <= 1
        assert np.abs(np.bincount(labels[indices]) - fractions[name] * np.bincount(labels)).max() <= 1.5
        assert list(indices) == sorted(indices)


def test_remaining_samples_go_to_largest_remainders():
    # 10 of 100 samples: exactly 4.4, 3.7 and 1.9 per class.
    labels = np.array([0] * 44 + [1] * 37 + [2] * 19)

    assert np.bincount(labels[stratified_split(labels, 0, 0.1)["test"]]).tolist() == [4, 4, 2]


def test_seed_determines_split():
    first, same_seed, other_seed = (
        stratified_split(IMBALANCED, 0.1, 0.1, seed=seed)["test"].tolist() for seed in (0, 0, 1)
    )

    assert first == same_seed != other_seed


def test_splits_are_drawn_from_all_samples():
    splits = [set(stratified_split(IMBALANCED, 0.1, 0.1, seed=seed)["test"].tolist()) for seed in range(40)]

    assert len(set.union(*splits)) > 0.95 * len(IMBALANCED)


def test_labels_may_be_any_values():
    splits = stratified_split(["b", "a"] * 10, 0, 0.2)

    assert {name: len(indices) for name, indices in splits.items()} == {"train": 16, "test": 4}


def test_too_few_samples_are_rejected():
    message = "Too few samples .*: 3 samples in 2 classes .smallest class: 1. with a test fraction of 0.1. Add samples"

    with pytest.raises(DataError, match=message):
        stratified_split([0, 0, 1], 0.1, 0.1)
