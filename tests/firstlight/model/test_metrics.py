"""Classification metrics agree with the classes of torchmetrics."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from firstlight.model import metrics as metrics_module
from firstlight.model.metrics import ClassificationMetrics


@pytest.mark.parametrize("num_classes", [2, 5, 40])
def test_metrics_agree_with_torchmetrics(num_classes):
    torch.manual_seed(num_classes)
    metrics = ClassificationMetrics(num_classes)
    references = {
        "accuracy": MulticlassAccuracy(num_classes, average="micro"),
        "f1": MulticlassF1Score(num_classes, average="macro"),
        "confusion_matrix": MulticlassConfusionMatrix(num_classes),
    }
    losses = []
    for batch_size in (64, 64, 3):
        logits, labels = torch.randn(batch_size, num_classes), torch.randint(num_classes, (batch_size,))
        metrics.update(logits, labels)
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
        for reference in references.values():
            reference.update(logits, labels)
    values = metrics.compute()

    assert torch.allclose(values["loss"], torch.cat(losses).mean())
    assert torch.equal(values["confusion_matrix"], references["confusion_matrix"].compute())
    for name in ("accuracy", "f1"):
        assert torch.allclose(values[name], references[name].compute())


def test_metrics_without_matrix_equal_those_with_matrix(monkeypatch):
    torch.manual_seed(0)
    with_matrix = ClassificationMetrics(7)
    monkeypatch.setattr(metrics_module, "MAX_MATRIX_CLASSES", 6)
    without = ClassificationMetrics(7)
    for _ in range(3):
        logits, labels = torch.randn(32, 7), torch.randint(7, (32,))
        labels[:5] = -100
        with_matrix.update(logits, labels)
        without.update(logits, labels)
    expected, values = with_matrix.compute(), without.compute()

    assert values.pop("confusion_matrix").numel() == 0
    assert {name: float(value) for name, value in values.items()} == {name: float(expected[name]) for name in values}


def test_hundred_thousand_classes_take_little_memory():
    metrics = ClassificationMetrics(100_000)
    metrics.update(torch.eye(4, 100_000), torch.tensor([0, 1, 99_999, 99_998]))

    assert sum(state.numel() for state in (metrics.confusion_matrix, metrics.loss)) < 1_000_000
    assert metrics.compute()["accuracy"] == 0.5


@pytest.mark.parametrize("num_batches", [1, 15, 16, 17, 33])
def test_classes_of_any_number_of_batches_are_counted_once(num_batches):
    metrics, labels = ClassificationMetrics(3), torch.arange(4 * num_batches) % 3
    for batch in labels.split(4):
        metrics.update(torch.nn.functional.one_hot(batch, 3).float(), batch)
        assert len(metrics.true) <= metrics_module.MAX_PENDING_BATCHES

    for _ in range(2):  # computing counts nothing again
        metrics._computed = None
        assert metrics.compute()["confusion_matrix"].tolist() == labels.bincount().diag().tolist()


def test_f1_ignores_class_that_neither_occurs_nor_is_predicted():
    metrics = ClassificationMetrics(3)
    metrics.update(torch.tensor([[9.0, 0, 0], [0, 9.0, 0]]), torch.tensor([0, 1]))

    assert metrics.compute()["f1"] == 1


def test_reset_clears_all_samples():
    metrics = ClassificationMetrics(2)
    metrics.update(torch.tensor([[0.0, 9.0]]), torch.tensor([0]))
    metrics.reset()
    metrics.update(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))

    assert metrics.compute()["accuracy"] == 1
    assert metrics.compute()["confusion_matrix"].sum() == 1
