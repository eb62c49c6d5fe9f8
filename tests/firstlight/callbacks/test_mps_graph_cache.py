"""The graph cache of MPS is emptied once per epoch, and only if the shapes of the training batches vary."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from firstlight.callbacks.mps_graph_cache import EmptyMPSGraphCache
from support.tiny_training import build_tiny

SHAPES = {
    "equal batches": [(4, 8)] * 4,
    "smaller last batch": [(4, 8)] * 3 + [(1, 8)],
    "padded texts": [(4, 8), (4, 16), (4, 8), (2, 24)],
    "graphs": [(31, 8), (29, 8), (40, 8), (33, 8)],
}


class MeanModel(LightningModule):
    """Fit the mean of inputs of any shape; validates with other shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch):
        return (self.scale * batch["inputs"]).mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [("equal batches", 0), ("smaller last batch", 0), ("padded texts", 3), ("graphs", 3)],
)
def test_cache_is_emptied_once_per_epoch_if_shapes_vary(shapes, expected, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append(1))
    batches = [{"inputs": torch.ones(shape), "labels": torch.ones(shape[0])} for shape in SHAPES[shapes]]
    validation = [{"inputs": torch.ones(5, length)} for length in (1, 2, 3)]
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, callbacks=[EmptyMPSGraphCache()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(MeanModel(), torch.utils.data.DataLoader(batches, None), torch.utils.data.DataLoader(validation, None))

    assert len(calls) == expected


def test_other_devices_have_no_such_callback(compose_cfg):
    _, _, trainer, _ = build_tiny(compose_cfg)

    assert not any(isinstance(callback, EmptyMPSGraphCache) for callback in trainer.callbacks)
