"""What labels a classifier can learn from."""

import time

import pytest
import torch

from firstlight.data.labels import validate_labels

NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize("kind", [list, torch.tensor])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2, 3], "A label is 0 to 2, one for each class, but sample 3 of the train split has 3: correct it"),
        ([0, -1, 1, 2], "sample 1 of the train split has -1"),
        ([0.0, 1.0, 2.0], "sample 0 of the train split has 0.0"),
        ([0, 0, 2], "Each class needs a training sample, but dog has none: add some, or leave it out"),
        ([1, 1], "Each class needs a training sample, but cat, owl has none"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(kind, labels, expected):
    with pytest.raises(ValueError, match=expected):
        validate_labels("train", kind(labels), NAMES)


def test_a_class_alone_is_refused():
    with pytest.raises(ValueError, match="A classifier needs two classes or more, but the data has .'cat'."):
        validate_labels("train", [0, 0], ["cat"])


def test_validation_may_lack_a_class():
    validate_labels("val", [0, 2], NAMES)
    validate_labels("train", torch.tensor([2, 1, 0]), NAMES)


def test_a_million_labels_take_no_time():
    labels = torch.arange(1_000_000) % 3
    start = time.perf_counter()
    validate_labels("train", labels, NAMES)

    assert time.perf_counter() - start < 0.5
