"""Metrics of the tasks that torchmetrics has not, or not without waiting for the device in every batch."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, R2Score

# With more classes, a confusion matrix takes over 32 MB, and its JSON file more.
MAX_MATRIX_CLASSES = 2_000
# Batches whose classes are counted at once: counting them one by one would cost a GPU 7 kernels per batch.
MAX_PENDING_BATCHES = 16


class ClassificationMetrics(Metric):
    """Loss, accuracy (micro), F1 (macro) and confusion matrix over all samples seen.

    With more than `MAX_MATRIX_CLASSES` classes, there is no confusion matrix.

    Updates run on the device without host synchronization. The classes of torchmetrics validate the labels on the host,
    so that a GPU waits in every batch.

    Args:
        num_classes: Number of classes.
    """

    # States that `add_state` registers; torchmetrics sums or concatenates them over all processes.
    confusion_matrix: Tensor
    loss: Tensor
    # Classes of the batches that the confusion matrix does not contain yet.
    true: list[Tensor]
    predicted: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.has_matrix = num_classes <= MAX_MATRIX_CLASSES
        # Without a matrix, the rows are the correct, the true and the predicted samples per class.
        shape = (num_classes if self.has_matrix else 3, num_classes)
        self.add_state("confusion_matrix", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("true", [], dist_reduce_fx="cat")
        self.add_state("predicted", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Shape (batch, classes).
            labels: Shape (batch,). Samples with the label -100 are ignored. Must not be changed afterwards.
        """
        # Before the batch is added: a process without pending batches could not take part in a concatenation.
        if len(self.true) >= MAX_PENDING_BATCHES:
            self.count_pending()
        self.loss += functional.cross_entropy(logits, labels, reduction="sum")
        self.true.append(labels)
        self.predicted.append(logits.argmax(1))

    def count_pending(self) -> None:
        """Add the pending batches to the confusion matrix."""
        if not len(self.true):
            return
        labels, predicted = concatenate(self.true), concatenate(self.predicted)
        true, counted = labels.clamp(min=0), (labels >= 0).long()
        if self.has_matrix:
            self.confusion_matrix.view(-1).scatter_add_(0, true * self.num_classes + predicted, counted)
        else:
            self.confusion_matrix[0].scatter_add_(0, true, counted * (true == predicted))
            self.confusion_matrix[1].scatter_add_(0, true, counted)
            self.confusion_matrix[2].scatter_add_(0, predicted, counted)
        self.true, self.predicted = [], []

    def compute(self) -> dict[str, Tensor]:
        """Return "loss", "accuracy", "f1" and "confusion_matrix", shape (classes, classes), a row per true class.

        Without a confusion matrix, its shape is (0, 0).
        """
        self.count_pending()
        matrix = self.confusion_matrix
        if self.has_matrix:
            correct, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        else:
            correct, support, predicted = matrix.unbind()
        # F1 is undefined for a class that neither occurs nor is predicted.
        defined = support + predicted > 0
        f1 = 2 * correct[defined] / (support + predicted)[defined]
        total = support.sum()
        return {
            "loss": self.loss / total,
            "accuracy": correct.sum() / total,
            "f1": f1.mean(),
            "confusion_matrix": matrix if self.has_matrix else matrix[:0, :0],
        }


class MultiLabelMetrics(Metric):
    """Loss, F1 (micro, macro and of each label) and average precision over all samples seen.

    Updates run on the device without host synchronization. The scores are kept on the device, and the average
    precision is computed from them at the end of the split: the classes of torchmetrics would wait in every batch.

    Args:
        num_labels: Number of labels.
    """

    # States that `add_state` registers; torchmetrics sums or concatenates them over all processes.
    loss: Tensor
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Shape (batch, labels).
            labels: 0 or 1, shape (batch, labels).
        """
        self.loss += functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum")
        self.scores.append(logits)
        self.labels.append(labels.to(torch.uint8))

    def compute(self) -> dict[str, Tensor]:
        """Return "loss", "f1_micro", "f1_macro", "average_precision", and per label "label_f1", "label_ap", "support".

        The average precision of a label without positive samples is NaN. The means leave out labels without a value.
        """
        scores, labels = concatenate(self.scores), concatenate(self.labels)
        predicted, support = (scores > 0).sum(0), labels.sum(0)
        correct = ((scores > 0) & (labels > 0)).sum(0)
        defined = predicted + support > 0
        label_f1 = 2 * correct / (predicted + support).clamp(min=1)
        label_ap = compute_average_precision(scores, labels)
        return {
            "loss": self.loss / self.loss.new_tensor(labels.numel()),
            "f1_micro": 2 * correct.sum() / (predicted + support).sum().clamp(min=1),
            "f1_macro": label_f1[defined].mean(),
            "average_precision": label_ap.nanmean(),
            "label_f1": label_f1,
            "label_ap": label_ap,
            "support": support,
        }


def concatenate(state: list[Tensor] | Tensor) -> Tensor:
    """Return the rows of a state that a single process has as a list of batches, and several as one tensor."""
    return torch.cat(state) if isinstance(state, list) else state


def compute_average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the average precision of each label, as scikit-learn's average_precision_score; NaN without positives.

    Args:
        scores: A score per sample and label; only their order matters. Shape (samples, labels).
        labels: 0 or 1, shape (samples, labels).

    Returns:
        Shape (labels,).
    """
    descending, order = scores.T.contiguous().sort(descending=True)  # (labels, samples)
    positives = labels.T.long().gather(1, order)
    # Samples of equal score share one threshold: the precision after the last of them.
    last = torch.searchsorted(-descending, -descending, right=True) - 1
    precision = positives.cumsum(1).gather(1, last) / (last + 1)
    return (precision * positives).sum(1) / positives.sum(1)


class R2(R2Score):
    """R2Score of torchmetrics that is NaN, instead of an error, for fewer than two samples."""

    def compute(self) -> Tensor:
        """Return the coefficient of determination, a scalar."""
        return super().compute() if self.total >= 2 else torch.tensor(torch.nan)
