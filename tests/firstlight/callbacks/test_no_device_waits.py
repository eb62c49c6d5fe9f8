"""No task, metric or callback waits for the device in a batch of a validation, a test or a prediction."""

import pytest
import torch
from lightning.pytorch import Callback

from firstlight import build
from firstlight.callbacks.prediction_writer import BatchCollector, PredictionWriter
from firstlight.hardware.host_copy import HostCopy
from support.device_waits import count_waits, forbid_cuda_waits
from support.options import QUICK_OVERRIDES

OVERRIDES = [*QUICK_OVERRIDES, "callbacks=wandb", "data.num_samples=48", "data.num_classes=3", "data.batch_size=4"]
MODELS = [f"tiny_{modality}{task}" for modality in ("images", "text") for task in ("", "_multilabel", "_regressor")]


def build_model(compose_cfg, model, *overrides):
    """Return a model with all callbacks, and a dataset that fits it, with 3 batches in val and test."""
    if "text" in model:
        pytest.importorskip("transformers", reason="the extra text is not installed")
    data = ["data=fake_text"] if "text" in model else ["data=fake_images", "data.image_size=4"]
    return build.build(compose_cfg(f"model={model}", *data, *OVERRIDES, *overrides))


def predict(model, data, trainer, path):
    """Predict the test split, as `make predict` does."""
    writer = PredictionWriter(path, [str(index) for index in range(12)])
    trainer.callbacks += [writer, BatchCollector()]
    data.predict_dataloader = data.test_dataloader
    trainer.predict(model, data, return_predictions=False)
    writer.close()
    assert len(writer.written) == 12


@pytest.mark.parametrize("model", MODELS)
def test_no_batch_waits(compose_cfg, monkeypatch, tmp_path, model):
    module, data, trainer = build_model(compose_cfg, model)
    waits = count_waits(monkeypatch)
    # As on a device that is behind: results are read when they are two batches old.
    monkeypatch.setattr(HostCopy, "is_ready", lambda copy: False)
    write = PredictionWriter._write_batch

    def write_older_batch(writer, predictions, pl_module):
        with waits.pause():  # HostCopy has moved the predictions into the memory of the host
            write(writer, predictions, pl_module)

    monkeypatch.setattr(PredictionWriter, "_write_batch", write_older_batch)
    trainer.validate(module, data, verbose=False)
    trainer.test(module, data, verbose=False)
    predict(module, data, trainer, tmp_path / "predictions.csv")

    assert waits.num_batches == 9
    assert waits.counts == {}


class WaitingCallback(Callback):
    """Wait in every way."""

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        labels = batch["labels"]
        labels.cpu(), labels.tolist(), labels[0].item(), bool(labels[0] > 0), float(labels[0])
        labels[labels > 0], labels.nonzero(), labels.unique(), labels.bincount()


def test_waits_are_counted(compose_cfg, monkeypatch):
    module, data, trainer = build_model(compose_cfg, "tiny_images", "callbacks=none")
    trainer.callbacks.append(WaitingCallback())
    waits = count_waits(monkeypatch)
    trainer.test(module, data, verbose=False)

    methods = dict.fromkeys(("cpu", "tolist", "item", "__bool__", "__float__"), 3)
    operators = {"index": 3, "nonzero": 3, "_unique2": 3, "bincount": 3, "_local_scalar_dense": 9}
    assert waits.counts == methods | operators


@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires CUDA")
@pytest.mark.parametrize("model", MODELS)
def test_no_batch_waits_for_cuda(compose_cfg, monkeypatch, tmp_path, model):
    module, data, trainer = build_model(compose_cfg, model, "trainer=cuda", "trainer.compile=false")
    forbid_cuda_waits(monkeypatch)
    trainer.validate(module, data, verbose=False)
    trainer.test(module, data, verbose=False)
    predict(module, data, trainer, tmp_path / "predictions.csv")
