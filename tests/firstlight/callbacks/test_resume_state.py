"""A training that is stopped and goes on ends with the same losses and weights, to the last bit."""

import signal

import pytest
from PIL import Image

from support.interruption import SMALL_OVERRIDES, check_resume_matches_uninterrupted
from support.options import list_options, make_tiny_overrides

# 16 training samples in batches of 4: 4 steps an epoch, each of which is logged; one batch of validation.
MOMENTS = {
    "mid-epoch": ("train_batch_end", 5),
    "first batch of an epoch": ("train_batch_start", 4),
    "last batch of an epoch": ("train_batch_end", 7),
    "validation": ("validation_batch_start", 1),
    "end of an epoch": ("train_epoch_end", 1),
    "first step": ("train_batch_start", 0),
    "last step": ("train_batch_end", 11),
    "last validation": ("validation_batch_start", 2),
}


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(at, marks=[] if name in ("mid-epoch", "validation") else pytest.mark.slow)
        for name, at in MOMENTS.items()
    ],
    ids=MOMENTS,
)
def test_from_any_moment(moment, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, SMALL_OVERRIDES, [moment])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["trainer.limit_val_batches=0"],
        ["trainer.val_check_interval=2"],
        ["trainer.accumulate_grad_batches=2"],
        ["data.num_workers=2"],
        ["trainer.limit_train_batches=3"],
        ["trainer.check_val_every_n_epoch=2"],
        ["optimizer=adamw", "trainer.gradient_clip_val=0.5"],
        ["callbacks.best=null"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("moment", [MOMENTS["mid-epoch"], MOMENTS["last batch of an epoch"]], ids=["mid-epoch", "last"])
def test_with_any_setting(moment, words, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, [*SMALL_OVERRIDES, *words], [moment])


def test_with_augmentation_on_the_device(monkeypatch, tmp_path):
    from firstlight.data.fake_images import FakeImageDataModule

    monkeypatch.setattr(FakeImageDataModule, "max_shift", 1)
    monkeypatch.setattr(FakeImageDataModule, "mirror", True)
    check_resume_matches_uninterrupted(tmp_path, [*SMALL_OVERRIDES, "data.augment=true"], [MOMENTS["mid-epoch"]])


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_with_augmentation_on_the_host(workers, tmp_path):
    for index in range(40):
        folder = tmp_path / "images" / f"class {index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 12), 40 + index).convert("RGB").save(folder / f"{index}.png")
    words = ["data=image_folder", f"data.root={tmp_path}/images", f"data.num_workers={workers}"]
    same = [
        word
        for word in SMALL_OVERRIDES
        if word.partition("=")[0] not in ("data", "data.num_classes", "data.num_samples")
    ]
    check_resume_matches_uninterrupted(tmp_path, [*words, *same], [("train_batch_end", 9)])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_after_any_signal(number, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, SMALL_OVERRIDES, [MOMENTS["mid-epoch"]], number)


@pytest.mark.slow
@pytest.mark.parametrize("model", list_options("model"))
def test_every_model_from_one_moment_after_the_other(model, tmp_path):
    # Counted anew by each start: the 6th batch, and then the validation of the next epoch.
    moments = [("train_batch_end", 5), ("validation_batch_start", 1)]
    check_resume_matches_uninterrupted(tmp_path, [*make_tiny_overrides(model), "trainer.max_epochs=3"], moments)
