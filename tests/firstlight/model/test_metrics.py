"""Scores agree with torchmetrics' own classes."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from firstlight.model.metrics import ClassificationMetrics


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_they_agree_with_torchmetrics(classes):
    torch.manual_seed(classes)
    scores = ClassificationMetrics(classes)
    theirs = {
        "accuracy": MulticlassAccuracy(classes, average="micro"),
        "f1": MulticlassF1Score(classes, average="macro"),
        "confusion_matrix": MulticlassConfusionMatrix(classes),
    }
    losses = []
    for size in (64, 64, 3):
        logits, labels = torch.randn(size, classes), torch.randint(classes, (size,))
        scores.update(logits, labels)
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
        for each in theirs.values():
            each.update(logits, labels)
    values = scores.compute()

    assert torch.allclose(values["loss"], torch.cat(losses).mean())
    assert torch.equal(values["confusion_matrix"], theirs["confusion_matrix"].compute())
    for name in ("accuracy", "f1"):
        assert torch.allclose(values[name], theirs[name].compute())


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_f1():
    scores = ClassificationMetrics(3)
    scores.update(torch.tensor([[9.0, 0, 0], [0, 9.0, 0]]), torch.tensor([0, 1]))

    assert scores.compute()["f1"] == 1


def test_reset_forgets():
    scores = ClassificationMetrics(2)
    scores.update(torch.tensor([[0.0, 9.0]]), torch.tensor([0]))
    scores.reset()
    scores.update(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))

    assert scores.compute()["accuracy"] == 1
    assert scores.compute()["confusion_matrix"].sum() == 1
