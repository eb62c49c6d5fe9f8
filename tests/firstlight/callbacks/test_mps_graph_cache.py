"""The graph cache of MPS is emptied once per epoch, and only if the shapes of the training batches vary."""

import dataclasses
from collections import UserDict

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from firstlight.callbacks.mps_graph_cache import EmptyMPSGraphCache
from firstlight.data.batch import list_shapes
from support.tiny_training import build_tiny

SHAPES = {
    "equal batches": [(4, 8)] * 4,
    "smaller last batch": [(4, 8)] * 3 + [(1, 8)],
    "padded texts": [(4, 8), (4, 16), (4, 8), (2, 24)],
    "graphs": [(31, 8), (29, 8), (40, 8), (33, 8)],
}


class Graphs:
    """A batch of graphs that refers to itself; moved with `to`, as in PyTorch Geometric."""

    def __init__(self, nodes: torch.Tensor) -> None:
        self.store, self.parent = {"nodes": nodes}, self

    @property
    def inputs(self) -> torch.Tensor:
        return self.store["nodes"]

    def to(self, device, non_blocking=False):
        return Graphs(self.inputs.to(device, non_blocking=non_blocking))


@dataclasses.dataclass(frozen=True)
class FrozenBatch:
    """A batch that Lightning moves only with its own method `to`."""

    inputs: torch.Tensor

    def to(self, device, non_blocking=False):
        return FrozenBatch(self.inputs.to(device, non_blocking=non_blocking))


def pack(inputs: torch.Tensor) -> PackedSequence:
    """Return a packed batch with the time steps in the first dimension; each sequence has its full length."""
    return pack_padded_sequence(inputs[..., None], [len(inputs)] * inputs.shape[1])


BATCH_TYPES = [pack, Graphs, FrozenBatch, lambda inputs: UserDict(inputs=inputs), lambda inputs: [{}, inputs]]


class MeanModel(LightningModule):
    """Fit the mean of inputs of any shape; validates with other shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch):
        return (self.scale * get_inputs(batch)).mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def get_inputs(batch) -> torch.Tensor:
    """Return the inputs in a batch of any type."""
    if isinstance(batch, list):
        return batch[1]
    if isinstance(batch, PackedSequence):
        return batch.data
    return batch.inputs if hasattr(batch, "inputs") else batch["inputs"]


def count_calls(batches: list, monkeypatch) -> int:
    """Return how often three epochs of training empty the cache."""
    calls = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append(1))
    validation = [{"inputs": torch.ones(5, length)} for length in (1, 2, 3)]
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, callbacks=[EmptyMPSGraphCache()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(MeanModel(), torch.utils.data.DataLoader(batches, None), torch.utils.data.DataLoader(validation, None))
    return len(calls)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [("equal batches", 0), ("smaller last batch", 0), ("padded texts", 3), ("graphs", 3)],
)
def test_cache_is_emptied_once_per_epoch_if_shapes_vary(shapes, expected, monkeypatch):
    batches = [{"inputs": torch.ones(shape), "labels": torch.ones(shape[0])} for shape in SHAPES[shapes]]

    assert count_calls(batches, monkeypatch) == expected


@pytest.mark.parametrize("make_batch", BATCH_TYPES)
@pytest.mark.parametrize(("shapes", "expected"), [("smaller last batch", 0), ("graphs", 3)])
def test_every_type_of_batch_trains(make_batch, shapes, expected, monkeypatch):
    batches = [make_batch(torch.ones(shape)) for shape in SHAPES[shapes]]

    assert count_calls(batches, monkeypatch) == expected


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_have_the_shape_of_their_values(layout):
    tensors = [torch.ones(2, 3), torch.ones(4, 3)]
    (shape,) = list_shapes((torch.nested.nested_tensor(tensors, layout=layout), "text", None))

    assert shape.numel() == 18


def test_other_devices_have_no_such_callback(compose_cfg):
    _, _, trainer, _ = build_tiny(compose_cfg)

    assert not any(isinstance(callback, EmptyMPSGraphCache) for callback in trainer.callbacks)
