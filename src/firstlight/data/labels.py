"""Labels of the three tasks: their dtype, and checks that a model can learn from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.run.errors import ConfigError, DataError, invalid_value

# A message names at most this many classes.
MAX_LISTED_CLASSES = 9

# The labels of a batch: class indices (batch,), 0 or 1 per label (batch, labels), or targets (batch,).
LABEL_DTYPES = {"classification": torch.int64, "multilabel": torch.float32, "regression": torch.float32}


def validate_task(task: str) -> None:
    """Check that there is a task with this name.

    Raises:
        ConfigError: If there is none.
    """
    if task not in LABEL_DTYPES:
        expected = "classification, multilabel or regression"
        raise ConfigError(invalid_value("data.task", task, expected, "Use e.g. data.task=classification."))


def validate_labels(split: str, labels: Any, names: list[str], task: str = "classification") -> None:
    """Check that a model can learn from the labels of a split.

    Args:
        split: Name of the split.
        labels: Label of each sample, shape (samples,), or (samples, labels) for the task "multilabel".
        names: Name of each class or label, or the name of the target in a list.
        task: "classification", "multilabel" or "regression".

    Raises:
        DataError: If a label is invalid, or the training split lacks a class or a label, or its targets do not vary.
    """
    if task == "multilabel":
        validate_label_matrix(split, np.asarray(labels), names)
    elif task == "regression":
        validate_targets(split, np.asarray(labels))
    else:
        validate_class_indices(split, labels, names)


def validate_class_indices(split: str, labels: Sequence[int] | Tensor, class_names: list[str]) -> None:
    """Check that every label is the index of a class, and that every class has a training sample.

    Args:
        split: Name of the split. Only "train" must contain every class.
        labels: Label of each sample, shape (samples,).
        class_names: Name of each class.

    Raises:
        DataError: If there are fewer than two classes, a label is not the index of a class, or a class has no training
            sample.
    """
    if len(class_names) < 2:
        raise DataError(
            f"A classifier requires at least two classes, but the data has {class_names}. Add samples of other classes."
        )
    values = np.asarray(labels)
    if values.ndim != 1:
        raise DataError(describe_label_shape(split, values))
    # Values that are not numbers make an array of objects. An array without values is float.
    is_integer = values.dtype.kind in "iu" or not len(values)
    if is_integer:
        is_invalid = (values < 0) | (values >= len(class_names))
    else:
        is_invalid = np.array([not isinstance(label, int) for label in labels])
    if is_invalid.any():
        position = int(np.argmax(is_invalid))
        raise DataError(
            f"Invalid label of sample {position} in the {split} split: expected an integer from 0 to "
            f"{len(class_names) - 1}, got {labels[position]}. Fix the label, or add the missing class names."
        )
    missing = np.flatnonzero(np.bincount(values.astype(np.int64), minlength=len(class_names)) == 0)
    if split == "train" and len(missing):
        raise DataError(
            f"No training samples for the classes: {list_names(class_names, missing)}. Add samples, or remove these "
            "classes."
        )


def describe_label_shape(split: str, labels: np.ndarray) -> str:
    """Return the message for labels of classes that are not one integer per sample."""
    shape = f"expected one class index per sample, got the shape {labels.shape}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        fix = "Return them with the shape (samples,), e.g. labels.squeeze(1)."
    elif labels.ndim == 2 and (labels.sum(1) == 1).all():
        fix = "If they are one-hot, return labels.argmax(1)."
    elif labels.ndim == 2:
        fix = "For several labels per sample, set the task of dataset and model to multilabel."
    else:
        fix = "For other targets, such as masks, use a LightningDataModule and a LightningModule of your own."
    return f"Invalid labels of the {split} split: {shape}. {fix}"


def validate_label_values(labels: np.ndarray, task: str) -> None:
    """Check that labels can be converted to the dtype of a task without changing them.

    Raises:
        DataError: If they are not numbers, or fractions for the task "classification".
    """
    is_integer = labels.dtype.kind in "iub"
    if labels.dtype.kind not in "iubf" or (task == "classification" and not is_integer and (labels % 1 != 0).any()):
        expected = "class indices" if task == "classification" else "numbers"
        example = labels.flat[0].item() if labels.size and labels.dtype.kind != "O" else labels.dtype
        raise DataError(
            f"Invalid labels: expected {expected}, got {labels.dtype} such as {example!r}. Return integers "
            "from 0, and the names of the classes."
        )


def validate_label_matrix(split: str, labels: np.ndarray, label_names: list[str]) -> None:
    """Check that there is a 0 or 1 for each sample and label, and that every label has a training sample.

    Raises:
        DataError: If the shape or a value is invalid, or a label has no training sample.
    """
    if labels.ndim != 2 or labels.shape[1] != len(label_names):
        raise DataError(
            f"Invalid labels of the {split} split: expected the shape (samples, {len(label_names)}) for the labels "
            f"{list_names(label_names, range(len(label_names)))}, got {labels.shape}. Return one column per label."
        )
    is_invalid = ((labels != 0) & (labels != 1)).any(1)
    if is_invalid.any():
        position = int(np.argmax(is_invalid))
        raise DataError(
            f"Invalid labels of sample {position} in the {split} split: expected 0 or 1 for each label, got "
            f"{labels[position].tolist()}. Fix the labels."
        )
    missing = np.flatnonzero(labels.sum(0) == 0)
    if split == "train" and len(missing):
        raise DataError(
            f"No training samples for the labels: {list_names(label_names, missing)}. Add samples, or remove these "
            "labels."
        )


def validate_targets(split: str, targets: np.ndarray) -> None:
    """Check that there is one finite number per sample, and that the training targets vary.

    Raises:
        DataError: If the shape or a value is invalid, or all training targets are equal.
    """
    if targets.ndim != 1 or targets.dtype.kind not in "iuf":
        raise DataError(f"Invalid targets of the {split} split: expected one number per sample, got {targets.shape}.")
    if not np.isfinite(targets).all():
        position = int(np.argmax(~np.isfinite(targets)))
        raise DataError(
            f"Invalid target of sample {position} in the {split} split: expected a finite number, got "
            f"{targets[position]}. Fix the target."
        )
    if split == "train" and targets.min() == targets.max():
        raise DataError(f"All training targets are {targets[0]}. Set data.label_column to a target that varies.")


def summarize_labels(labels: Any, names: list[str], task: str) -> dict[str, Any]:
    """Return the metadata of valid training labels, as plain values.

    Args:
        labels: Label of each training sample. None: unknown, for a dataset without the attribute `labels`.
        names: Name of each class or label, or the name of the target in a list.
        task: "classification", "multilabel" or "regression".

    Returns:
        "class_names" and "class_counts", or "label_names", or "target_name", "target_mean" and "target_std" (of the
        population).
    """
    values = None if labels is None else np.asarray(torch.as_tensor(labels).cpu())
    if task == "classification":
        counts = {} if values is None else {"class_counts": np.bincount(values, minlength=len(names)).tolist()}
        return {"class_names": names, **counts}
    if task == "multilabel":
        return {"label_names": names}
    assert values is not None, "a dataset for regression needs the attribute `labels`"
    targets = values.astype(np.float64) if len(values) else np.zeros(1)
    return {"target_name": names[0], "target_mean": float(targets.mean()), "target_std": float(targets.std())}


def list_names(names: Sequence[str], indices: Any) -> str:
    """Return the names with these indices, up to `MAX_LISTED_CLASSES` of them."""
    listed = ", ".join(names[index] for index in indices[:MAX_LISTED_CLASSES])
    return f"{listed} and {len(indices) - MAX_LISTED_CLASSES} more" if len(indices) > MAX_LISTED_CLASSES else listed


def get_balanced_labels(dataset: Any, task: str, name: str) -> torch.Tensor:
    """Return the class index of each training sample, shape (samples,), for a balanced sampler.

    Args:
        dataset: The training dataset.
        task: Its task.
        name: Name of the datamodule, for the message.

    Raises:
        ConfigError: If the samples have no classes, or their labels are not known in advance.
    """
    labels = getattr(dataset, "labels", None)
    if task != "classification" or labels is None:
        reason = f"labels for {task}" if labels is not None else "no attribute `labels`"
        raise ConfigError(
            f"data.balanced_sampler=true requires classes, but {name} has {reason}. Set data.balanced_sampler=false."
        )
    return torch.as_tensor(labels)
