"""Classifiers: a task with one class per sample, the cross-entropy and the classification metrics."""

from typing import Any, ClassVar, Literal, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from firstlight.model.metrics import ClassificationMetrics
from firstlight.model.task import Task
from firstlight.run.errors import ConfigError, DataError, invalid_value


class ClassifierSettings(TypedDict, total=False):
    """Settings that all classifiers have.

    Attributes:
        label_smoothing: Fraction of the target that is spread evenly over all classes, 0 to 1
            (Szegedy et al. 2016, section 7). 0 if omitted.
        class_weights: Weight of each class in the training loss, as in torch.nn.CrossEntropyLoss, or "balanced": the
            inverse frequency, num_samples / (num_classes * count), as in scikit-learn. If None or omitted, all are 1.
            Validation and test losses have no weights.
        class_counts: Number of training samples of each class. The dataset provides it.
    """

    label_smoothing: float
    class_weights: Literal["balanced"] | list[float] | None
    class_counts: list[int] | None


class Classifier(Task):
    """Map inputs to one logit per class. The loss is the cross-entropy.

    A subclass builds `self.network`, whose outputs are logits of shape (batch, classes).

    Args:
        class_names: Name of each class, in the order of the logits.
        settings: See `ClassifierSettings`.

    Raises:
        DataError: If there are fewer than two classes.
        ConfigError: If `class_weights` do not fit the classes.
    """

    class_weights: Tensor | None

    task: ClassVar[str] = "classification"

    def __init__(self, class_names: list[str], **settings: Unpack[ClassifierSettings]) -> None:
        super().__init__()
        if len(class_names) < 2:
            raise DataError(
                f"A classifier requires at least two classes, got {class_names}. Add samples of other classes."
            )
        self.class_names = class_names
        self.label_smoothing = settings.get("label_smoothing", 0.0)
        weights = resolve_class_weights(settings.get("class_weights"), class_names, settings.get("class_counts"))
        # A buffer moves with the model; the checkpoint has the config from which it follows.
        self.register_buffer("class_weights", None if weights is None else torch.tensor(weights), persistent=False)

    def loss(self, outputs: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the mean cross-entropy of a batch, a scalar.

        Args:
            outputs: Logits, shape (batch, classes).
            batch: Its "labels" are class indices, shape (batch,). With mixup or CutMix, they are the probability of
                each class, shape (batch, classes). With class weights, the mean is weighted in both cases.
        """
        labels, weights, smoothing = batch["labels"], self.class_weights, self.label_smoothing
        if labels.ndim == 1 or weights is None:
            return functional.cross_entropy(outputs, labels, weight=weights, label_smoothing=smoothing)
        # torch divides the loss of probabilities by the number of samples, whatever their weights are. Divided by their
        # weights, the loss of a label is the same as an index and as probabilities of 0 and 1.
        total = functional.cross_entropy(outputs, labels, weights, label_smoothing=smoothing, reduction="sum")
        return total / (labels * weights).sum()

    def metrics(self) -> Metric:
        """Return loss, accuracy, macro-F1 and confusion matrix."""
        return ClassificationMetrics(len(self.class_names))

    def train_metrics(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the accuracy of a batch. The label of a mixed image is its most probable class."""
        labels = batch["labels"] if batch["labels"].ndim == 1 else batch["labels"].argmax(1)
        return {"accuracy": (outputs.detach().argmax(1) == labels).float().mean()}

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


def resolve_class_weights(
    weights: Literal["balanced"] | list[float] | None, class_names: list[str], class_counts: list[int] | None
) -> list[float] | None:
    """Return the weight of each class, or None if all are equal.

    Args:
        weights: See `ClassifierSettings`.
        class_names: Name of each class.
        class_counts: Number of training samples of each class.

    Raises:
        ConfigError: If the number of weights is wrong, a weight is negative, or the class counts are unknown.
    """
    if weights is None:
        return None
    if weights == "balanced":
        if not class_counts:
            raise ConfigError(
                "model.class_weights=balanced needs the number of training samples of each class, which the dataset "
                "does not provide. Set model.class_weights to a list of numbers."
            )
        empty = [name for name, count in zip(class_names, class_counts, strict=True) if not count]
        if empty:
            raise ConfigError(
                "model.class_weights=balanced requires training samples of each class. Add samples of "
                f"{', '.join(empty[:9])}, or set model.class_weights to a list of numbers."
            )
        return [sum(class_counts) / (len(class_names) * count) for count in class_counts]
    if len(weights) != len(class_names) or min(weights) < 0 or not any(weights):
        expected = f"{len(class_names)} weights of at least 0, one for each of {', '.join(class_names[:9])}"
        raise ConfigError(invalid_value("model.class_weights", weights, expected, "Use e.g. balanced."))
    return [float(weight) for weight in weights]
