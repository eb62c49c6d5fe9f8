"""Confidence intervals agree with scipy's bootstrap, with the binomial distribution, and with resampled groups."""

import numpy as np
import pytest
import torch
from scipy import stats

from firstlight.model import intervals
from firstlight.model.intervals import resample_classes, resample_metrics
from firstlight.model.metrics import ClassificationMetrics
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.model.regressor import Regressor


def make_classes(num_samples, num_classes=3, accuracy=0.8, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, num_samples)
    return true, np.where(rng.random(num_samples) < accuracy, true, rng.integers(0, num_classes, num_samples))


def bootstrap(columns, statistic, num_resamples=1_000):
    """Return scipy's percentile interval, from random numbers of its own."""
    result = stats.bootstrap(
        columns, statistic, paired=True, vectorized=False, method="percentile", n_resamples=num_resamples, rng=7
    )
    return tuple(result.confidence_interval)


@pytest.mark.parametrize("num_correct", [180, 120, 196])
def test_interval_of_the_accuracy_is_that_of_a_binomial_distribution(num_correct):
    true = np.zeros(200, np.int64)
    found = resample_classes(true, (np.arange(200) >= num_correct).astype(np.int64))["accuracy"]
    wilson = stats.binomtest(num_correct, 200).proportion_ci(method="wilson")

    # 1,000 resamples: a quantile varies by about one of the 200 samples.
    assert found == pytest.approx(stats.binom.ppf([0.025, 0.975], 200, num_correct / 200) / 200, abs=1.01 / 200)
    # Wilson's interval is moved towards 1/2 by up to 1.96^2 / 200 / 2 = 0.01.
    assert found == pytest.approx([wilson.low, wilson.high], abs=0.018)


def test_intervals_of_a_classification_are_those_of_scipy():
    true, predicted = make_classes(400)

    def compute_f1(true, predicted):
        metrics = ClassificationMetrics(3)
        metrics.update(torch.eye(3)[torch.from_numpy(predicted)], torch.from_numpy(true))
        return float(metrics.compute()["f1"])

    found = resample_classes(true, predicted)
    # Half of the width is 0.035; the quantile of 1,000 resamples varies by about 0.002.
    assert found["accuracy"] == pytest.approx(bootstrap((true, predicted), lambda a, b: (a == b).mean()), abs=0.008)
    assert found["f1"] == pytest.approx(bootstrap((true, predicted), compute_f1), abs=0.008)
    assert found == resample_classes(true, predicted)


def test_copies_of_samples_in_groups_do_not_narrow_the_interval():
    true, predicted = make_classes(100)
    copies = true.repeat(20), predicted.repeat(20)
    independent, grouped = resample_classes(*copies), resample_classes(*copies, np.arange(100).repeat(20) * 7)

    assert grouped["accuracy"] == pytest.approx(resample_classes(true, predicted)["accuracy"], abs=0.02)
    width, expected = (high - low for low, high in (independent["accuracy"], grouped["accuracy"]))
    assert width == pytest.approx(expected / 20**0.5, rel=0.2)


def test_intervals_of_a_regression_are_those_of_scipy():
    rng = np.random.default_rng(1)
    true = rng.normal(10, 3, 80)
    predicted = true + rng.normal(0.5, 1, 80)
    model = Regressor(target_name="y", target_mean=8.0, target_std=2.0)
    outputs = torch.from_numpy((predicted - 8) / 2).float()
    found = resample_metrics(model, outputs, torch.from_numpy(true).float())
    expected = {
        "mae": lambda a, b: np.abs(a - b).mean(),
        "rmse": lambda a, b: np.sqrt(((a - b) ** 2).mean()),
        "loss": lambda a, b: (((a - b) / 2) ** 2).mean(),
        "r2": lambda a, b: 1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum(),
    }

    assert found.keys() == expected.keys()
    for name, statistic in expected.items():
        low, high = bootstrap((true, predicted), statistic)
        assert found[name] == pytest.approx((low, high), abs=0.12 * (high - low)), name


def test_groups_of_a_regression_are_resampled(monkeypatch):
    monkeypatch.setattr(intervals, "NUM_RESAMPLES", 300)
    model = Regressor(target_name="y", target_mean=0.0, target_std=1.0)
    true = torch.randn(40, generator=torch.Generator().manual_seed(0))
    outputs = true + torch.linspace(-1, 1, 40)
    single = resample_metrics(model, outputs, true)
    grouped = resample_metrics(model, outputs.repeat(5), true.repeat(5), np.tile(np.arange(40), 5))

    assert grouped["mae"] == pytest.approx(single["mae"], rel=1e-5)  # the same draws of 40 units


def test_labels_have_intervals_and_the_model_keeps_its_scores(monkeypatch):
    monkeypatch.setattr(intervals, "NUM_RESAMPLES", 200)
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(60, 2, generator=generator) < 0.4).float()
    outputs = labels * 2 - 1 + torch.randn(60, 2, generator=generator)
    model = MultiLabelClassifier(["red", "round"])
    model.label_scores = {"label_f1": [1.0]}
    found = resample_metrics(model, outputs, labels)
    metrics = model.metrics()
    metrics.update(outputs, labels)
    values = metrics.compute()

    assert set(found) == {"loss", "f1_micro", "f1_macro", "average_precision", "per_label_f1/red", "per_label_f1/round"}
    for name in ("loss", "f1_micro", "f1_macro", "average_precision"):
        assert found[name][0] < values[name] < found[name][1]
    assert model.label_scores == {"label_f1": [1.0]}
