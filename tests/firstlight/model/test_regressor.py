"""A number per sample: standardization, metrics in the unit of the target, and predictions."""

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from firstlight.model.regressor import Regressor, RegressorSettings
from firstlight.run.errors import ConfigError, DataError

SETTINGS = RegressorSettings(target_name="price", target_mean=1e6, target_std=10.0)


class Identity(Regressor):
    """A model whose outputs are its inputs."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.network = nn.Identity()


def compute_metrics(model, outputs, targets):
    metrics = model.metrics()
    for batch in (slice(0, 30), slice(30, None)):
        metrics.update(*model.prepare_for_metrics(outputs[batch], targets[batch]))
    return {name: float(value) for name, value in model.finish_metrics(metrics.compute()).items()}


@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_metrics_are_in_the_unit_of_the_target(shape):
    generator = torch.Generator().manual_seed(0)
    targets = (torch.randn(50, generator=generator).double() * 10 + 1e6).round()
    predicted = targets + torch.randn(50, generator=generator) * 3
    model = Identity(**SETTINGS)
    outputs = model.standardize(predicted).float()
    values = compute_metrics(model, outputs.view(shape), targets)

    # The sums of R2 in float32 would cancel around a million; the targets themselves are exact in float32.
    assert values["r2"] == pytest.approx(sklearn_metrics.r2_score(targets.numpy(), predicted.numpy()), abs=1e-5)
    assert values["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(targets, predicted), rel=1e-5)
    assert values["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(targets, predicted), rel=1e-5)
    assert values["loss"] == pytest.approx((values["rmse"] / 10) ** 2, rel=1e-5)


def test_single_sample_has_no_r2():
    values = compute_metrics(Identity(**SETTINGS), torch.zeros(1), torch.tensor([1e6]))

    assert values["r2"] != values["r2"]
    assert values["mae"] == 0


def test_loss_is_mean_squared_error_of_standardized_targets():
    model, targets = Identity(**SETTINGS), torch.tensor([1e6, 1e6 + 20])
    loss = model.loss(torch.tensor([[1.0], [1.0]]), {"labels": targets})

    assert float(loss) == 1.0


def test_predictions_are_in_the_unit_of_the_target():
    model = Identity(**{**SETTINGS, "target_mean": 5.0})
    batch = {"ids": torch.arange(2), "inputs": torch.tensor([[0.0], [1.5]])}

    assert model.format_predictions(model.predict_step(batch, 0)) == [{"price": "5"}, {"price": "20"}]


def test_several_outputs_are_rejected():
    with pytest.raises(ConfigError, match=r"outputs of shape \(batch,\) or \(batch, 1\), got \(4, 3\). Use one"):
        Identity(**SETTINGS).loss(torch.zeros(4, 3), {"labels": torch.zeros(4)})


def test_constant_target_is_rejected():
    with pytest.raises(DataError, match="Invalid value for target_std: expected a positive number, got 0.0"):
        Identity(target_name="price", target_mean=1.0, target_std=0.0)
