"""The figures of a classifier: all from one count of which class was taken for which."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric


class ClassificationMetrics(Metric):
    """Loss, accuracy (micro), F1 (macro) and confusion matrix of all samples seen.

    An update counts on the device and waits for nothing: torchmetrics' own classes check each batch's labels on the
    host, which makes a GPU wait for every batch.
    """

    # States that `add_state` makes; torchmetrics adds them up over processes.
    confusion_matrix: Tensor
    loss: Tensor

    def __init__(self, num_classes: int) -> None:
        """Start from zero."""
        super().__init__()
        self.num_classes = num_classes
        self.add_state(
            "confusion_matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum"
        )
        self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits, shape (batch, classes), and labels, shape (batch,); one below 0 counts nothing."""
        self.loss += functional.cross_entropy(logits, labels, reduction="sum")
        cells = labels.clamp(min=0) * self.num_classes + logits.argmax(1)
        self.confusion_matrix.view(-1).scatter_add_(0, cells, (labels >= 0).to(cells.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return "loss", "accuracy", "f1" and "confusion_matrix", rows the true classes, shape (classes, classes)."""
        counts = self.confusion_matrix
        right, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        # A class that neither occurs nor is predicted has no F1.
        seen = true + predicted > 0
        f1 = 2 * right[seen] / (true + predicted)[seen]
        total = counts.sum()
        return {"loss": self.loss / total, "accuracy": right.sum() / total, "f1": f1.mean(), "confusion_matrix": counts}
