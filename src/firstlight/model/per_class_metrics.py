"""Metrics of each class from a confusion matrix, in plain Python: the HTML report does not import torch."""

from typing import NamedTuple


class ClassMetrics(NamedTuple):
    """Metrics of one class. A fraction 0 / 0 is 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def compute_class_metrics(counts: list[list[int]], class_names: list[str]) -> list[ClassMetrics]:
    """Return the metrics of each class.

    Args:
        counts: Confusion matrix with a row per true class and a column per predicted class.
        class_names: Name of each class, in this order.
    """
    metrics = []
    for index, (name, row, column) in enumerate(zip(class_names, counts, zip(*counts, strict=True), strict=True)):
        true_positives, support, predicted = row[index], sum(row), sum(column)
        precision, recall = true_positives / max(predicted, 1), true_positives / max(support, 1)
        f1 = 2 * true_positives / max(support + predicted, 1)
        metrics.append(ClassMetrics(name, precision, recall, f1, support))
    return metrics
