"""Score each class by a confusion matrix, in plain Python: the page of runs does without torch."""

from typing import NamedTuple


class ClassMetrics(NamedTuple):
    """How well one class was found; what is 0 of 0 is 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


def compute_class_metrics(counts: list[list[int]], class_names: list[str]) -> list[ClassMetrics]:
    """Return the scores of each class.

    Args:
        counts: a row for each true class, a column for each predicted one.
        class_names: their names, in this order.
    """
    found = []
    for index, (name, row, column) in enumerate(zip(class_names, counts, zip(*counts, strict=True), strict=True)):
        hits, samples, taken = row[index], sum(row), sum(column)
        f1 = 2 * hits / max(samples + taken, 1)
        found.append(ClassMetrics(name, hits / max(taken, 1), hits / max(samples, 1), f1, samples))
    return found
