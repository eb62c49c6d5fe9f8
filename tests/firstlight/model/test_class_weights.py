"""Class weights of a classifier: values, loss and errors."""

import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from firstlight.build import build
from firstlight.model.classifier import Classifier
from firstlight.run.errors import ConfigError
from support.options import QUICK_OVERRIDES

NAMES = ["cat", "dog", "owl"]
COUNTS = [10, 30, 60]


def test_balanced_weights_are_those_of_scikit_learn():
    model = Classifier(NAMES, class_weights="balanced", class_counts=COUNTS)
    labels = torch.arange(3).repeat_interleave(torch.tensor(COUNTS)).numpy()
    expected = compute_class_weight("balanced", classes=labels[[0, 20, 50]], y=labels)

    torch.testing.assert_close(model.class_weights.double(), torch.tensor(expected), rtol=1e-6, atol=0)
    assert "class_weights" not in model.state_dict()


def test_loss_uses_the_weights():
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    model = Classifier(NAMES, class_weights=[1, 0, 2.5])
    expected = nn.functional.cross_entropy(logits, labels, weight=torch.tensor([1, 0, 2.5]))

    torch.testing.assert_close(model.loss(logits, {"labels": labels}), expected)


def test_dataset_provides_the_counts(compose_cfg):
    model, data, _ = build(compose_cfg("model=tiny_mlp", "model.class_weights=balanced", *QUICK_OVERRIDES))

    assert data.metadata["class_counts"] == torch.bincount(data.datasets["train"].labels).tolist()
    assert model.class_weights.tolist() == pytest.approx(
        [256 / (10 * count) for count in data.metadata["class_counts"]]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"class_weights": [1.0, 2.0]},
            "expected 3 weights of at least 0, one for each of cat, dog, owl, got .1.0",
        ),
        (
            {"class_weights": [1.0, -2.0, 1.0]},
            "Invalid value for model.class_weights: expected 3 weights",
        ),
        (
            {"class_weights": "balanced", "class_counts": [5, 0, 3]},
            "requires training samples of each class. Add samples of dog, or set model.class_weights to a list",
        ),
        ({"class_weights": "balanced"}, "model.class_weights=balanced needs the number of training samples of"),
    ],
)
def test_invalid_weights_are_rejected(settings, message):
    with pytest.raises(ConfigError, match=message):
        Classifier(NAMES, **settings)
