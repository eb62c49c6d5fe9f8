"""Keep the outputs of a test for confidence intervals."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from firstlight.model.classifier import Classifier
from firstlight.model.intervals import MAX_VALUES, Intervals, resample_classes, resample_metrics
from firstlight.model.task import Task
from firstlight.run.errors import describe_error
from firstlight.run.packages import is_installed


class EvaluatedOutputs(Callback):
    """Keep labels and outputs of the test of a `Task` on one device.

    For a `Classifier` with the default metrics, only the predicted classes are kept.
    """

    def __init__(self) -> None:
        # ID, label and outputs of each sample, on the device: a copy would wait for it in every batch.
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self.num_values = 0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch; `outputs` are the outputs of the network."""
        labels = batch.get("labels") if isinstance(batch, dict) else None
        if not isinstance(pl_module, Task) or not is_per_sample(outputs, labels):
            return
        assert isinstance(labels, Tensor)
        if has_classification_metrics(pl_module):
            outputs = outputs.argmax(1)
        else:
            self.num_values += outputs.numel()
        if self.num_values <= MAX_VALUES:
            # Only the datasets of the engine have IDs, and groups.
            self.batches.append((batch.get("ids", labels), labels, outputs))

    def compute_intervals(self, model: LightningModule, groups: np.ndarray | None) -> tuple[Intervals, str]:
        """Return the interval of each metric, and a line that says how they were found, or why there are none.

        Args:
            model: The evaluated model.
            groups: A number per group for each sample of the split; None if samples are independent.
        """
        if self.num_values > MAX_VALUES:
            return {}, f"none: more than {MAX_VALUES:,} outputs"
        if not self.batches:
            return {}, "none: only for a Task whose test_step returns the outputs of each sample"
        columns = zip(*self.batches, strict=True)
        ids, labels, outputs = (torch.cat([part.cpu() for part in column]) for column in columns)
        if has_classification_metrics(model):
            is_labeled = labels >= 0
            ids, labels, outputs = ids[is_labeled], labels[is_labeled], outputs[is_labeled]
        codes = groups[ids.numpy()] if groups is not None else None
        num_units = len(ids if codes is None else np.unique(codes))
        unit = "samples" if codes is None else "groups"
        if num_units < 2:
            return {}, f"none: requires at least 2 {unit}, found {num_units}"
        if has_classification_metrics(model):
            intervals = resample_classes(labels.numpy(), outputs.numpy(), codes)
        elif not is_installed("scipy"):
            return {}, "none: requires the package scipy"
        else:
            assert isinstance(model, Task)
            try:
                intervals = resample_metrics(model, outputs, labels, codes)
            except Exception as error:  # of metrics of a user, which must not prevent the evaluation
                return {}, f"none: {describe_error(error)}"
        return intervals, f"95 % confidence, from {num_units:,} resampled {unit}"


def is_per_sample(outputs: Any, labels: Any) -> bool:
    """Return True if outputs and labels are tensors with a row for each sample of a batch."""
    are_tensors = isinstance(outputs, Tensor) and isinstance(labels, Tensor)
    return are_tensors and outputs.ndim > 0 and labels.ndim > 0 and len(outputs) == len(labels)


def has_classification_metrics(model: LightningModule) -> bool:
    """Return True if a model has the metrics of `Classifier`, accuracy and F1, which a subclass may replace."""
    return isinstance(model, Classifier) and type(model).metrics is Classifier.metrics
