"""Settings of a dataset that depend on the model, the command or an installed package."""

import pytest

from firstlight.config import data_settings, ranges
from firstlight.config.compose import compose_config
from firstlight.config.ranges import EVALUATION_COMMANDS, validate_optimizer_keys
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, MissingPackageError


def compose(*overrides):
    return compose_config("train", ["model=tiny_images", *overrides, "output_dir=run"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model=tiny_images_regressor", "data.mixup_alpha=0.2"],
            "data.mixup_alpha: expected 0, .* task is regression",
        ),
        (
            ["model=tiny_images_multilabel", "data=image_folder", "data.cutmix_alpha=1", "data.label_column=a"],
            r"data.cutmix_alpha: expected 0, because mixed labels are only defined for classes, but the task is "
            r"multilabel, got 1. Set data.cutmix_alpha=0.",
        ),
        (
            ["model=plain_finetuned", "data=fake_images", "data.task=regression", "data.mixup_alpha=0.2"],
            "the task is regression, got 0.2. Set data.mixup_alpha=0.",
        ),
        (
            ["data.mixup_alpha=0.2", "data.batch_size=1"],
            r"expected 0, because a batch has a single image \(data.batch_size=1\), got 0.2. Set data.mixup_alpha=0.",
        ),
        (["data.mixup_alpha=-1"], "Invalid value for data.mixup_alpha: expected a value between 0 and 1,000, got -1"),
        (["data.cutmix_alpha=x"], "Invalid value for data.cutmix_alpha: expected a number, got 'x'"),
        (["data.random_erasing=1.1"], "Invalid value for data.random_erasing: expected a value between 0 and 1, got"),
        (["data.rand_augment=31"], "Invalid value for data.rand_augment: expected a value between 0 and 30, got 31"),
        (["data.rand_augment=0.5"], "Invalid value for data.rand_augment: expected an integer or null, got 0.5"),
    ],
)
def test_impossible_augmentation_is_rejected(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose(*overrides))


@pytest.mark.parametrize("model", ["tiny_images_regressor", "tiny_images_multilabel"])
def test_other_tasks_may_be_erased_and_rand_augmented(model):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    validate_config(compose(f"model={model}", "data.random_erasing=0.5", "data.rand_augment=9"))


@pytest.mark.parametrize("setting", ["mixup_alpha=0.2", "cutmix_alpha=1", "random_erasing=0.1"])
def test_missing_timm_is_reported(monkeypatch, setting):
    monkeypatch.setattr(data_settings, "is_installed", lambda name: name != "timm")
    message = f"data.{setting} requires the 'timm' package, which is not installed. Install it with `make setup`."
    cfg = compose(f"data.{setting}")

    with pytest.raises(MissingPackageError, match=message):
        validate_config(cfg)
    validate_config(compose("data.rand_augment=9"))
    # An evaluation augments nothing.
    cfg.command = "evaluate"
    data_settings.validate_data_settings({"command": "evaluate", "data": cfg.data, "model": cfg.model})


@pytest.mark.parametrize("command", EVALUATION_COMMANDS)
def test_evaluation_of_a_run_with_layer_decay_does_not_need_timm(command, monkeypatch):
    monkeypatch.setattr(ranges, "is_installed", lambda package: False)
    validate_optimizer_keys({"layer_decay": 0.5}, command)
    with pytest.raises(MissingPackageError, match=r"optimizer\.layer_decay=0\.5 requires the 'timm' package"):
        validate_optimizer_keys({"layer_decay": 0.5}, "train")


@pytest.mark.parametrize("command", ["tune", "preflight", "lr_find"])
def test_commands_that_measure_training_accept_its_switches(command):
    validate_config(compose_config(command, ["model=tiny_mlp", "callbacks.ema.decay=0.9", "output_dir=run"]))
