"""Confidence intervals of metrics by the percentile bootstrap (Efron & Tibshirani 1993, section 13.3).

The evaluated samples are drawn again with replacement, and the metrics computed for each resample. If samples belong to
groups, such as patients, complete groups are drawn.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.model.task import Task

LEVEL = 0.95
NUM_RESAMPLES = 1_000
# Intervals are the same in each evaluation of the same outputs.
RESAMPLE_SEED = 0
# Resamples whose indices are in memory at the same time.
BATCH_SIZE = 50
# More outputs would take minutes, and their intervals are narrow.
MAX_VALUES = 100_000

Intervals = dict[str, tuple[float, float]]


def resample_classes(true: np.ndarray, predicted: np.ndarray, groups: np.ndarray | None = None) -> Intervals:
    """Return the intervals of "accuracy" and of "f1" (macro), as `ClassificationMetrics` defines them.

    Without groups, the counts of the confusion matrix are drawn from a multinomial distribution. This is the same as
    drawing samples, and takes no time per sample.

    Args:
        true: True class of each sample, shape (samples,) int64.
        predicted: Predicted class of each sample, shape (samples,) int64.
        groups: A number per group for each sample, shape (samples,). If None, samples are independent.
    """
    num_classes = int(max(true.max(), predicted.max())) + 1
    codes = np.unique(groups, return_inverse=True)[1] if groups is not None else np.zeros(len(true), np.int64)
    # The cells of the confusion matrix, of each group, that are not zero.
    cells, counts = np.unique(np.stack([codes, true, predicted]), axis=1, return_counts=True)
    num_units = len(true) if groups is None else int(codes.max()) + 1
    probabilities = counts / num_units if groups is None else np.full(num_units, 1 / num_units)
    rng, is_correct = np.random.default_rng(RESAMPLE_SEED), cells[1] == cells[2]
    accuracies, f1 = np.empty(NUM_RESAMPLES), np.empty(NUM_RESAMPLES)
    for index in range(NUM_RESAMPLES):
        draws = rng.multinomial(num_units, probabilities)
        weights = draws if groups is None else draws[cells[0]] * counts
        total = np.bincount(cells[1], weights, num_classes) + np.bincount(cells[2], weights, num_classes)
        correct = np.bincount(cells[1], weights * is_correct, num_classes)
        accuracies[index] = correct.sum() / weights.sum()
        f1[index] = (2 * correct[total > 0] / total[total > 0]).mean()
    return {"accuracy": find_percentiles(accuracies), "f1": find_percentiles(f1)}


def find_percentiles(values: np.ndarray) -> tuple[float, float]:
    """Return the two values between which the middle `LEVEL` of values lie, shape (resamples,)."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resample_metrics(model: Task, outputs: Tensor, labels: Tensor, groups: np.ndarray | None = None) -> Intervals:
    """Return the interval of each metric of a task that is finite in all resamples.

    Args:
        model: The task. Its metrics are computed again for each resample.
        outputs: Outputs of its network, shape (samples, ...).
        labels: Label of each sample, shape (samples, ...).
        groups: A number per group for each sample, shape (samples,). If None, samples are independent.
    """
    # Importing scipy.stats takes two seconds, and only an evaluation needs it.
    from scipy.stats import bootstrap  # type: ignore[import-untyped]

    codes = np.unique(groups, return_inverse=True)[1] if groups is not None else np.arange(len(labels))
    units = np.arange(codes.max() + 1)
    compute = make_metric_function(model, outputs, labels)
    names = list(compute(np.arange(len(labels))))

    def compute_rows(drawn: np.ndarray, axis: int) -> np.ndarray:
        """Return the metrics of each row of (resamples, units), shape (metrics, resamples)."""
        counts = (np.bincount(row, minlength=len(units)) for row in drawn.reshape(-1, len(units)))
        rows = [compute(np.repeat(np.arange(len(labels)), count[codes])) for count in counts]
        return np.array([[values[name] for values in rows] for name in names])

    interval = bootstrap(
        (units,),
        compute_rows,
        n_resamples=NUM_RESAMPLES,
        batch=BATCH_SIZE,
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(RESAMPLE_SEED),
    ).confidence_interval
    found = zip(names, interval.low.tolist(), interval.high.tolist(), strict=True)
    return {name: (low, high) for name, low, high in found if np.isfinite([low, high]).all()}


def make_metric_function(model: Task, outputs: Tensor, labels: Tensor) -> Callable[[np.ndarray], dict[str, float]]:
    """Return a function that computes the metrics of the samples with some indices, which may occur several times."""
    task = copy.copy(model)  # because `finish_metrics` may set attributes
    metric = task.metrics()

    def compute(indices: np.ndarray) -> dict[str, float]:
        ids = torch.from_numpy(indices)
        metric.reset()
        metric.update(*task.prepare_for_metrics(outputs[ids], labels[ids]))
        values: dict[str, Any] = task.finish_metrics(metric.compute())
        return {name: float(value) for name, value in values.items()}

    return compute
