"""Labels from which a classifier can learn."""

import time

import numpy as np
import pytest
import torch

from firstlight.data.images import InMemoryImageDataset
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


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (6, 1),
            r"train split: expected one class index per sample, got the shape \(6, 1\). Return them with the shape",
        ),
        (
            (6, 2),
            r"got the shape \(6, 2\). For several labels per sample, set the task of dataset and model to multilab",
        ),
        ((6, 4, 4), r"got the shape \(6, 4, 4\). For other targets, such as masks, use a LightningDataModule"),
        ((), r"got the shape \(\)"),
    ],
)
def test_labels_of_another_shape_are_explained(shape, message):
    with pytest.raises(DataError, match=message):
        validate_labels("train", np.zeros(shape, dtype=np.int64), NAMES)


def test_one_hot_labels_are_explained():
    with pytest.raises(DataError, match=r"If they are one-hot, return labels.argmax\(1\)"):
        validate_labels("train", torch.eye(3, dtype=torch.int64), NAMES)


IMAGES = np.zeros((6, 3, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, [0.5] * 6, "expected class indices, got float64 such as 0.5. Return integers from 0, and the names"),
        (IMAGES, ["a"] * 6, "expected class indices, got <U1 such as 'a'"),
        (IMAGES, [None] * 6, "expected class indices, got object"),
        (IMAGES, [0, 1], "Invalid labels: expected one per image, got 2 for 6 images"),
        (IMAGES.transpose(0, 2, 3, 1), [0] * 6, r"got uint8 \(6, 4, 4, 3\). Return images.transpose\(0, 3, 1, 2\)"),
        (IMAGES[:, 0], [0] * 6, r"got uint8 \(6, 4, 4\). Repeat the gray channel"),
        (IMAGES[:, :1], [0] * 6, r"got uint8 \(6, 1, 4, 4\). Repeat the gray channel"),
        (IMAGES / 255, [0] * 6, r"got float64 \(6, 3, 4, 4\). Scale the pixels to 0..255 and return images.astype"),
        (IMAGES[0, 0, 0], [0] * 6, r"got uint8 \(4,\). Return one RGB image per sample"),
    ],
)
def test_arrays_of_another_form_are_explained(images, labels, message):
    with pytest.raises(DataError, match=message):
        InMemoryImageDataset(images, labels)


def test_whole_numbers_of_any_dtype_are_class_indices():
    for dtype in (np.uint8, np.int16, np.bool_, np.float32):
        dataset = InMemoryImageDataset(IMAGES, np.array([0, 1, 1, 0, 1, 0], dtype))

        assert dataset.labels.tolist() == [0, 1, 1, 0, 1, 0]
