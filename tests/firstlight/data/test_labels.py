"""Labels from which a classifier can learn."""

import time

import pytest
import torch

from firstlight.data.labels import validate_labels
from firstlight.run.errors import DataError

NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize("make_labels", [list, torch.tensor])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], "Invalid label of sample 3 in the train split: expected an integer from 0 to 2, got 3. Fix the"),
        ([0, -1, 1, 2], "sample 1 in the train split: expected .*, got -1"),
        ([0.0, 1.0, 2.0], "sample 0 in the train split: expected .*, got 0.0"),
        ([0, 0, 2], "No training samples for the classes: dog. Add samples, or remove these classes"),
        ([1, 1], "No training samples for the classes: cat, owl"),
    ],
)
def test_invalid_labels_are_rejected(make_labels, labels, message):
    with pytest.raises(DataError, match=message):
        validate_labels("train", make_labels(labels), NAMES)


def test_single_class_is_rejected():
    with pytest.raises(DataError, match="A classifier requires at least two classes, but the data has .'cat'."):
        validate_labels("train", [0, 0], ["cat"])


def test_validation_may_lack_a_class():
    validate_labels("val", [0, 2], NAMES)
    validate_labels("train", torch.tensor([2, 1, 0]), NAMES)


def test_million_labels_are_validated_quickly():
    labels = torch.arange(1_000_000) % 3
    start = time.perf_counter()
    validate_labels("train", labels, NAMES)

    assert time.perf_counter() - start < 0.5
