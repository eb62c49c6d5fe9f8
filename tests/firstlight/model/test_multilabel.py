"""Several labels per sample: loss, metrics and predictions."""

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from firstlight.model.metrics import MultiLabelMetrics, compute_average_precision
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.run.errors import DataError

NAMES = ["even", "large", "round"]


class Identity(MultiLabelClassifier):
    """A model whose logits are its inputs."""

    def __init__(self, label_names):
        super().__init__(label_names)
        self.network = nn.Identity()


@pytest.fixture
def scored():
    """Return logits with ties and labels, (50, 3), of which the last label never occurs."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=generator).mul(3).round()
    labels = (logits + torch.randn(50, 3, generator=generator) * 3 > 0).float()
    labels[:, 2] = 0
    return logits, labels


def test_metrics_match_scikit_learn(scored):
    logits, labels = scored
    metrics = MultiLabelMetrics(3)
    for batch in (slice(0, 20), slice(20, 50)):
        metrics.update(logits[batch], labels[batch])
    values = metrics.compute()
    predicted = (logits > 0).int()

    expected_f1 = sklearn_metrics.f1_score(labels, predicted, average=None, zero_division=0)
    torch.testing.assert_close(values["label_f1"].double(), torch.tensor(expected_f1), rtol=0, atol=1e-6)
    assert float(values["f1_micro"]) == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="micro"))
    assert float(values["f1_macro"]) == pytest.approx(expected_f1.mean())
    expected_ap = [sklearn_metrics.average_precision_score(labels[:, i], logits[:, i]) for i in range(2)]
    assert values["label_ap"][:2].tolist() == pytest.approx(expected_ap)
    assert torch.isnan(values["label_ap"][2])
    assert float(values["average_precision"]) == pytest.approx(sum(expected_ap) / 2)
    expected_loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(values["loss"], expected_loss)
    assert values["support"].tolist() == labels.sum(0).tolist()


def test_average_precision_of_perfect_and_constant_scores():
    labels = torch.tensor([[1.0], [0.0], [1.0], [0.0]])

    assert float(compute_average_precision(labels, labels)) == 1
    assert float(compute_average_precision(torch.zeros(4, 1), labels)) == 0.5


def test_loss_is_binary_cross_entropy(scored):
    logits, labels = scored
    loss = Identity(NAMES).loss(logits, {"labels": labels})

    torch.testing.assert_close(loss, nn.functional.binary_cross_entropy_with_logits(logits, labels))


def test_predictions_have_labels_and_a_column_per_label():
    batch = {"ids": torch.arange(2), "inputs": torch.tensor([[3.0, -3.0, 0.5], [-1.0, -1.0, -1.0]])}
    model = Identity(NAMES)
    rows = model.format_predictions(model.predict_step(batch, 0))

    assert rows[0] == {"labels": "even;round", "even": "0.952574", "large": "0.047426", "round": "0.622459"}
    assert rows[1]["labels"] == ""


def test_model_without_labels_is_rejected():
    with pytest.raises(DataError, match="requires at least one label"):
        Identity([])
