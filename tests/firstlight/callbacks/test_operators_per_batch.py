"""An evaluation calls few operators per batch in addition to the network, so that a GPU has few kernels to start."""

import pytest
from lightning.pytorch import Callback

from firstlight import build
from support.batch_operators import count_operators
from support.options import QUICK_OVERRIDES

# 32 batches of 4 samples in the test split: metrics and predictions handle 16 batches at once.
OVERRIDES = [*QUICK_OVERRIDES, "data.num_samples=512", "data.num_classes=3", "data.batch_size=4"]


def build_model(compose_cfg, model):
    """Return a model with the default callbacks, and a dataset that fits it."""
    if "text" in model:
        pytest.importorskip("transformers", reason="the extra text is not installed")
    data = ["data=fake_text"] if "text" in model else ["data=fake_images", "data.image_size=4"]
    return build.build(compose_cfg(f"model={model}", *data, *OVERRIDES))


@pytest.mark.parametrize(
    ("model", "limit"),
    [("tiny_images", 14), ("tiny_text", 9), ("tiny_images_multilabel", 9), ("tiny_text_multilabel", 7)],
)
def test_test_batch_calls_few_operators(compose_cfg, monkeypatch, model, limit):
    module, data, trainer = build_model(compose_cfg, model)
    operators = count_operators(monkeypatch, module)
    trainer.test(module, data, verbose=False)

    assert operators.num_batches == 32
    assert 0 < operators.count_per_batch() <= limit, operators.counts


@pytest.mark.parametrize(("model", "limit"), [("tiny_images", 9), ("tiny_text", 6)])
def test_validation_batch_calls_few_operators(compose_cfg, monkeypatch, model, limit):
    module, data, trainer = build_model(compose_cfg, model)
    operators = count_operators(monkeypatch, module)
    trainer.validate(module, data, verbose=False)

    assert 0 < operators.count_per_batch() <= limit, operators.counts


class AddingCallback(Callback):
    """Call two operators per batch, and create a view."""

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        outputs[:1].exp().sin()


def test_operators_of_callbacks_are_counted(compose_cfg, monkeypatch):
    module, data, trainer = build_model(compose_cfg, "tiny_images")
    trainer.callbacks = [AddingCallback()]
    operators = count_operators(monkeypatch, module)
    trainer.test(module, data, verbose=False)

    assert operators.counts["exp"] == operators.counts["sin"] == operators.num_batches == 32
