"""Classification metrics, all computed from one confusion matrix."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric


class ClassificationMetrics(Metric):
    """Loss, accuracy (micro), F1 (macro) and confusion matrix over all samples seen.

    Updates run on the device without host synchronization. The classes of torchmetrics validate the labels on the host,
    so that a GPU waits in every batch.

    Args:
        num_classes: Number of classes.
    """

    # States that `add_state` registers; torchmetrics sums them over all processes.
    confusion_matrix: Tensor
    loss: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion_matrix", matrix, dist_reduce_fx="sum")
        self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Shape (batch, classes).
            labels: Shape (batch,). Samples with the label -100 are ignored.
        """
        self.loss += functional.cross_entropy(logits, labels, reduction="sum")
        cells = labels.clamp(min=0) * self.num_classes + logits.argmax(1)
        self.confusion_matrix.view(-1).scatter_add_(0, cells, (labels >= 0).to(cells.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return "loss", "accuracy", "f1" and "confusion_matrix", shape (classes, classes), a row per true class."""
        matrix = self.confusion_matrix
        correct, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        # F1 is undefined for a class that neither occurs nor is predicted.
        defined = support + predicted > 0
        f1 = 2 * correct[defined] / (support + predicted)[defined]
        total = matrix.sum()
        return {
            "loss": self.loss / total,
            "accuracy": correct.sum() / total,
            "f1": f1.mean(),
            "confusion_matrix": matrix,
        }
