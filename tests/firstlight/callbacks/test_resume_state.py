"""A run that is stopped and resumed has bitwise the same losses and weights as an uninterrupted run."""

import signal

import pytest
from PIL import Image

from firstlight import train
from firstlight.config.compose import compose_config
from support.interruption import SMALL_OVERRIDES, check_resume_matches_uninterrupted
from support.options import list_options, make_tiny_overrides

# 16 training samples in batches of 4: 4 steps per epoch, all of which are logged, and one validation batch.
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
        pytest.param(moment, marks=[] if name in ("mid-epoch", "validation") else pytest.mark.slow)
        for name, moment in MOMENTS.items()
    ],
    ids=MOMENTS,
)
def test_resume_from_any_moment(moment, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, SMALL_OVERRIDES, [moment])


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
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
def test_resume_with_any_setting(moment, overrides, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, [*SMALL_OVERRIDES, *overrides], [moment])


def test_resuming_after_early_stopping_says_that_training_has_ended(tmp_path, capsys):
    stop = "+callbacks.stop={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, patience: 1"
    overrides = [*SMALL_OVERRIDES, f"{stop}, min_delta: 10}}", "trainer.max_epochs=8", f"output_dir={tmp_path / 'run'}"]
    train.main(compose_config("train", overrides))
    capsys.readouterr()
    train.main(compose_config("train", [f"resume={tmp_path / 'run'}", "trainer.max_epochs=9"]))

    assert "has ended the training: no further step is trained" in capsys.readouterr().out


def test_resume_with_augmentation_on_device(monkeypatch, tmp_path):
    from firstlight.data.fake_images import FakeImageDataModule

    monkeypatch.setattr(FakeImageDataModule, "max_shift", 1)
    monkeypatch.setattr(FakeImageDataModule, "horizontal_flip", True)
    check_resume_matches_uninterrupted(tmp_path, [*SMALL_OVERRIDES, "data.augment=true"], [MOMENTS["mid-epoch"]])


ALL_AUGMENTATION = ["data.mixup_alpha=0.4", "data.cutmix_alpha=1.0", "data.random_erasing=0.5", "data.rand_augment=9"]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], ["trainer.accumulate_grad_batches=2"], ["data.num_workers=2"]])
def test_resume_with_mixing_erasing_and_rand_augment(overrides, tmp_path):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    images = ["model=tiny_images", "data.image_size=8", "data.augment=true", *ALL_AUGMENTATION]
    check_resume_matches_uninterrupted(tmp_path, [*SMALL_OVERRIDES, *images, *overrides], [MOMENTS["mid-epoch"]])


@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_resume_with_augmentation_on_host(num_workers, tmp_path):
    for index in range(40):
        class_dir = tmp_path / "images" / f"class {index % 2}"
        class_dir.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 12), 40 + index).convert("RGB").save(class_dir / f"{index}.png")
    data = ["data=image_folder", f"data.root={tmp_path}/images", f"data.num_workers={num_workers}"]
    others = [
        override
        for override in SMALL_OVERRIDES
        if override.partition("=")[0] not in ("data", "data.num_classes", "data.num_samples")
    ]
    check_resume_matches_uninterrupted(tmp_path, [*data, *others], [("train_batch_end", 9)])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_resume_after_any_signal(number, tmp_path):
    check_resume_matches_uninterrupted(tmp_path, SMALL_OVERRIDES, [MOMENTS["mid-epoch"]], number)


@pytest.mark.slow
@pytest.mark.parametrize("model", list_options("model"))
def test_model_resumes_twice(model, tmp_path):
    # Each attempt counts from 0: the 6th batch, then the validation of the next epoch.
    moments = [("train_batch_end", 5), ("validation_batch_start", 1)]
    check_resume_matches_uninterrupted(tmp_path, [*make_tiny_overrides(model), "trainer.max_epochs=3"], moments)
