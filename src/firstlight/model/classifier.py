"""Classifiers: a task with one class per sample, the cross-entropy and the classification metrics."""

from typing import Any, ClassVar, TypedDict, Unpack

from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from firstlight.model.metrics import ClassificationMetrics
from firstlight.model.task import Task
from firstlight.run.errors import DataError


class ClassifierSettings(TypedDict, total=False):
    """Settings that all classifiers have.

    Attributes:
        label_smoothing: Fraction of the target that is spread evenly over all classes, 0 to 1
            (Szegedy et al. 2016, section 7). 0 if omitted.
    """

    label_smoothing: float


class Classifier(Task):
    """Map inputs to one logit per class. The loss is the cross-entropy.

    A subclass builds `self.network`, whose outputs are logits of shape (batch, classes).

    Args:
        class_names: Name of each class, in the order of the logits.
        settings: See `ClassifierSettings`.

    Raises:
        DataError: If there are fewer than two classes.
    """

    task: ClassVar[str] = "classification"

    def __init__(self, class_names: list[str], **settings: Unpack[ClassifierSettings]) -> None:
        super().__init__()
        if len(class_names) < 2:
            raise DataError(
                f"A classifier requires at least two classes, got {class_names}. Add samples of other classes."
            )
        self.class_names = class_names
        self.label_smoothing = settings.get("label_smoothing", 0.0)

    def loss(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy of a batch, a scalar.

        Args:
            outputs: Logits, shape (batch, classes).
            batch: Its "labels" are class indices, shape (batch,).
        """
        return functional.cross_entropy(outputs, batch["labels"], label_smoothing=self.label_smoothing)

    def metrics(self) -> Metric:
        """Return loss, accuracy, macro-F1 and confusion matrix."""
        return ClassificationMetrics(len(self.class_names))

    def train_metrics(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the accuracy of a batch."""
        return {"accuracy": (outputs.detach().argmax(1) == batch["labels"]).float().mean()}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" of a batch and the "probabilities", shape (batch, classes)."""
        return {"ids": batch["ids"], "probabilities": self(batch["inputs"]).float().softmax(1)}

    def format_predictions(self, predictions: dict[str, Tensor]) -> list[dict[str, str]]:
        """Return the most probable class of each sample and its probability."""
        probabilities, classes = predictions["probabilities"].max(1)  # each (batch,)
        return [
            {"label": self.class_names[index], "probability": f"{probability:.6f}"}
            for index, probability in zip(classes.tolist(), probabilities.tolist(), strict=True)
        ]

    def finish_metrics(self, values: dict[str, Any]) -> dict[str, Any]:
        """Keep the confusion matrix for the ConfusionMatrixPlot callback, since loggers take scalars only."""
        self.confusion_matrix = values.pop("confusion_matrix")
        return values
