"""Multi-label classifiers: a task with any number of labels per sample, and one binary decision per label."""

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from firstlight.model.metrics import MultiLabelMetrics
from firstlight.model.task import Task
from firstlight.run.errors import DataError

# The F1 of each label is logged up to this number of labels; label_scores.json always has it.
MAX_LOGGED_LABELS = 20


class MultiLabelClassifier(Task):
    """Map inputs to one logit per label. The loss is the binary cross-entropy; a label is predicted from 0.5 on.

    A subclass builds `self.network`, whose outputs are logits of shape (batch, labels).

    Args:
        label_names: Name of each label, in the order of the logits.

    Raises:
        DataError: If there are no labels.
    """

    task: ClassVar[str] = "multilabel"

    def __init__(self, label_names: list[str]) -> None:
        super().__init__()
        if not label_names:
            raise DataError("A multi-label classifier requires at least one label. Add labels to the data.")
        self.label_names = label_names

    def loss(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the binary cross-entropy, a scalar: the mean over the samples and labels of a batch.

        Args:
            outputs: Logits, shape (batch, labels).
            batch: Its "labels" are 0 or 1, shape (batch, labels).
        """
        return functional.binary_cross_entropy_with_logits(outputs, batch["labels"].to(outputs.dtype))

    def metrics(self) -> Metric:
        """Return loss, micro- and macro-F1, F1 and average precision of each label."""
        return MultiLabelMetrics(len(self.label_names))

    def finish_metrics(self, values: dict[str, Any]) -> dict[str, Any]:
        """Keep the scores of each label for the LabelScoresPlot callback, and log the F1 of a few labels by name."""
        self.label_scores = {name: values.pop(name).tolist() for name in ("label_f1", "label_ap", "support")}
        if len(self.label_names) > MAX_LOGGED_LABELS:
            return values
        by_label = zip(self.label_names, self.label_scores["label_f1"], strict=True)
        return values | {f"per_label_f1/{name}": value for name, value in by_label}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" of a batch and the "probabilities", shape (batch, labels)."""
        return {"ids": batch["ids"], "probabilities": self(batch["inputs"]).float().sigmoid()}

    def format_predictions(self, predictions: dict[str, Tensor]) -> list[dict[str, str]]:
        """Return the predicted labels of each sample, separated by ";", and the probability of each label."""
        return [
            {
                "labels": ";".join(name for name, value in zip(self.label_names, row, strict=True) if value > 0.5),
                **{name: f"{value:.6f}" for name, value in zip(self.label_names, row, strict=True)},
            }
            for row in predictions["probabilities"].tolist()
        ]
