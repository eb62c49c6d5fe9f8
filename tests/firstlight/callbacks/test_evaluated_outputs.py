"""Outputs kept for confidence intervals: groups by ID, and a line that says why there are none."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torchmetrics import MeanSquaredError

from firstlight.callbacks import evaluated_outputs
from firstlight.callbacks.evaluated_outputs import EvaluatedOutputs
from firstlight.model.classifier import Classifier
from firstlight.model.intervals import resample_classes
from firstlight.model.regressor import Regressor

LABELS = torch.arange(60) % 3
LOGITS = torch.eye(3)[torch.where(torch.arange(60) % 4 == 0, 0, LABELS)]


class OwnMetrics(Classifier):
    """A classifier whose only metric is a squared error."""

    def metrics(self):
        return MeanSquaredError()

    def prepare_for_metrics(self, outputs, labels):
        return outputs, torch.eye(3)[labels]

    def finish_metrics(self, values):
        return {"accuracy": 1 - values}


def collect(model, outputs=LOGITS, labels=LABELS, ids=None):
    """Return a callback that has seen two batches."""
    callback = EvaluatedOutputs()
    for rows in (slice(0, 40), slice(40, 60)):
        batch = {"labels": labels[rows]} | ({} if ids is None else {"ids": ids[rows]})
        callback.on_test_batch_end(None, model, outputs[rows], batch, 0)
    return callback


def test_groups_are_found_by_the_ids_of_samples():
    ids = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    groups = np.arange(60) // 5
    intervals, line = collect(Classifier(["a", "b", "c"]), ids=ids).compute_intervals(
        Classifier(["a", "b", "c"]), groups
    )

    expected = resample_classes(LABELS.numpy(), LOGITS.argmax(1).numpy(), groups[ids.numpy()])
    assert intervals == expected
    assert intervals != resample_classes(LABELS.numpy(), LOGITS.argmax(1).numpy(), groups)
    assert line == "95 % confidence, from 12 resampled groups"


def test_dataset_without_ids_has_intervals():
    model = Classifier(["a", "b", "c"])

    assert collect(model).compute_intervals(model, None)[1] == "95 % confidence, from 60 resampled samples"


def test_metrics_of_a_subclass_are_computed_as_it_does():
    model = OwnMetrics(["a", "b", "c"])
    intervals, _ = collect(model).compute_intervals(model, None)
    accuracy = float((LOGITS.argmax(1) == LABELS).float().mean())

    # A wrong prediction has the squared errors 1, 1 and 0.
    low, high = resample_classes(LABELS.numpy(), LOGITS.argmax(1).numpy())["accuracy"]
    assert low < accuracy < high
    assert intervals["accuracy"] == pytest.approx((1 - 2 / 3 * (1 - low), 1 - 2 / 3 * (1 - high)), abs=0.025)


@pytest.mark.parametrize(
    ("model", "outputs", "line"),
    [
        (LightningModule(), LOGITS, "none: only for a Task whose test_step returns the outputs of each sample"),
        (Classifier(["a", "b", "c"]), LOGITS[:20], "none: only for a Task whose test_step"),
        (Regressor(target_name="y", target_mean=0.0, target_std=1.0), LOGITS, "none: more than 100 outputs"),
        (OwnMetrics(["a", "b", "c"]), LOGITS[:, 0], "none: "),
    ],
)
def test_reason_is_given_if_there_are_no_intervals(model, outputs, line, monkeypatch):
    monkeypatch.setattr(evaluated_outputs, "MAX_VALUES", 100)
    intervals, found = collect(model, outputs).compute_intervals(model, None)

    assert intervals == {}
    assert found.startswith(line)


def test_one_group_has_no_interval():
    model = Classifier(["a", "b", "c"])
    callback = collect(model, ids=torch.arange(60))

    assert callback.compute_intervals(model, np.zeros(60)) == ({}, "none: requires at least 2 groups, found 1")


def test_samples_without_a_label_are_left_out():
    model = Classifier(["a", "b", "c"])
    unlabeled, last = torch.full((60,), -1), torch.where(torch.arange(60) < 20, -1, LABELS)
    groups = np.arange(60) // 5
    intervals, line = collect(model, labels=last, ids=torch.arange(60)).compute_intervals(model, groups)

    assert intervals == resample_classes(LABELS.numpy()[20:], LOGITS.argmax(1).numpy()[20:], groups[20:])
    assert line == "95 % confidence, from 8 resampled groups"
    none = collect(model, labels=unlabeled).compute_intervals(model, None)
    assert none == ({}, "none: requires at least 2 samples, found 0")
