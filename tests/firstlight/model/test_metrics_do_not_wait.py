"""Metrics are updated without reading a value on the host, which would wait for the device in every batch."""

import pytest
import torch
from torch import nn

from firstlight.model.metrics import ClassificationMetrics, MultiLabelMetrics
from firstlight.model.regressor import Regressor

LABELS = {
    "classification": torch.zeros(4, dtype=torch.int64),
    "multilabel": torch.zeros(4, 3),
    "regression": torch.zeros(4),
}


class Identity(Regressor):
    """A model whose outputs are its inputs."""

    def __init__(self) -> None:
        super().__init__(target_name="price", target_mean=1.0, target_std=2.0)
        self.network = nn.Identity()


@pytest.mark.parametrize("task", LABELS)
def test_update_reads_no_value(task):
    # Tensors on the meta device have no values: to read one is an error.
    model = Identity()
    metrics = {
        "classification": lambda: ClassificationMetrics(3),
        "multilabel": lambda: MultiLabelMetrics(3),
        "regression": model.metrics,
    }[task]().to("meta")
    outputs, labels = torch.zeros(4, 1 if task == "regression" else 3, device="meta"), LABELS[task].to("meta")
    prepared = model.prepare_for_metrics(outputs, labels) if task == "regression" else (outputs, labels)
    for _ in range(2):
        metrics.update(*prepared)
