"""Mixed labels of a classifier: loss and accuracy."""

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.model.classifier import Classifier

NAMES = ["cat", "dog", "owl"]
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [-1.0, 1.0, 0.0]])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6], [0.2, 0.8, 0.0]])


def compute_loss(logits, targets, weights, smoothing):
    """Return the weighted mean of the cross-entropy in NumPy: sum of w t log p over the sum of w t."""
    logits, targets, weights = (np.asarray(value, dtype=np.float64) for value in (logits, targets, weights))
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1]
    return -(weights * smoothed * log_probabilities).sum() / (weights * targets).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.25, 4.0]])
def test_loss_of_mixed_labels(weights, smoothing):
    model = Classifier(NAMES, class_weights=weights, label_smoothing=smoothing)
    expected = compute_loss(LOGITS, SOFT, weights or [1.0] * 3, smoothing)

    assert model.loss(LOGITS, {"labels": SOFT}).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.25, 4.0]])
def test_unmixed_labels_have_the_loss_of_their_indices(weights, smoothing):
    model = Classifier(NAMES, class_weights=weights, label_smoothing=smoothing)
    indices = torch.tensor([2, 0, 1])
    expected = nn.functional.cross_entropy(LOGITS, indices, weight=model.class_weights, label_smoothing=smoothing)

    torch.testing.assert_close(model.loss(LOGITS, {"labels": indices}), expected, rtol=0, atol=0)
    torch.testing.assert_close(model.loss(LOGITS, {"labels": torch.eye(3)[indices]}), expected)


def test_bfloat16_logits_of_mixed_labels():
    model = Classifier(NAMES)
    loss = model.loss(LOGITS.bfloat16(), {"labels": SOFT})

    # bfloat16 has 8 bits of precision.
    assert loss.item() == pytest.approx(compute_loss(LOGITS, SOFT, [1.0] * 3, 0), rel=2e-2)


def test_accuracy_takes_the_class_with_the_highest_probability():
    # The highest logits are those of the classes 0, 2 and 1.
    accuracies = [Classifier(NAMES).train_metrics(LOGITS, {"labels": labels}) for labels in (SOFT, SOFT.flip(0))]

    assert [values["accuracy"].item() for values in accuracies] == pytest.approx([1.0, 1 / 3])
