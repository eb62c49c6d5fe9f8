"""Training runs with mixed labels: each batch, each task class, each callback."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image

from firstlight import build, evaluate
from firstlight import train as train_command
from firstlight.config.compose import compose_config
from firstlight.data.normalization import denormalize_to_uint8
from support.options import QUICK_OVERRIDES, TINY_OVERRIDES

pytest.importorskip("timm", reason="the extra timm is not installed")

AUGMENTED = ["data.mixup_alpha=1", "data.cutmix_alpha=1", "data.random_erasing=0.5", "data.rand_augment=9"]
OVERRIDES = [*QUICK_OVERRIDES, *TINY_OVERRIDES["images"], "data.image_size=8", *AUGMENTED]


class BatchRecorder(Callback):
    """Record the batches of the training and the labels of the validation."""

    def __init__(self):
        self.train, self.val = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.train.append(batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.val.append(batch["labels"])


def train(compose_cfg, *overrides):
    """Train one epoch of 4 batches; return the recorder, the datamodule and the trainer."""
    model, data, trainer = build.build(compose_cfg(*OVERRIDES, *overrides))
    recorder = BatchRecorder()
    trainer.callbacks.append(recorder)
    trainer.fit(model, data)
    return recorder, data, trainer


def test_each_batch_has_labels_of_its_own(compose_cfg, tmp_path):
    recorder, data, trainer = train(
        compose_cfg, "model=tiny_images", "data.num_classes=8", "trainer.accumulate_grad_batches=2"
    )
    labels = torch.stack([batch["labels"] for batch in recorder.train])

    assert labels.shape == (4, 4, 8)
    assert labels.dtype == torch.float32
    torch.testing.assert_close(labels.sum(2), torch.ones(4, 4))
    # Mixed labels are neither 0 nor 1, and the two batches of an optimizer step have different weights.
    weights = {round(label.max().item(), 4) for batch in labels for label in batch if label.max() < 1}
    assert len(weights) == 4
    assert all(labels.dtype == torch.int64 for labels in recorder.val)
    assert trainer.global_step == 2
    assert 0 <= trainer.callback_metrics["train/accuracy"] <= 1
    # The plot of the first batch shows the augmented images: 4 of them in a row, with margins of 2 px.
    plot = np.asarray(Image.open(tmp_path / "run" / "first_batch.png"))
    shown = np.stack([plot[2:10, 2 + 10 * index : 10 + 10 * index] for index in range(4)])
    expected = denormalize_to_uint8(recorder.train[0]["inputs"], data.mean, data.std)
    assert np.array_equal(shown, expected.permute(0, 2, 3, 1))


def test_mixed_labels_keep_their_precision(compose_cfg):
    recorder, _, _ = train(compose_cfg, "model=tiny_images", "trainer.precision=bf16-true", "model.label_smoothing=0.1")

    assert {batch["inputs"].dtype for batch in recorder.train} == {torch.bfloat16}
    assert {batch["labels"].dtype for batch in recorder.train} == {torch.float32}


def test_plain_module_gets_mixed_labels(compose_cfg):
    recorder, _, trainer = train(compose_cfg, "model=plain_finetuned", "data.image_size=2")

    assert {batch["labels"].shape for batch in recorder.train} == {(4, 2)}
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_evaluation_of_training_images_is_not_augmented(compose_cfg, tmp_path):
    train_command.main(compose_cfg(*OVERRIDES, "model=tiny_images", "test=false"))
    results = [
        evaluate.main(compose_config("evaluate", [f"run={tmp_path / 'run'}", "split=train", *overrides]))["metrics"]
        for overrides in ([], ["data.rand_augment=null", "data.mixup_alpha=0"])
    ]

    assert results[0] == results[1]
