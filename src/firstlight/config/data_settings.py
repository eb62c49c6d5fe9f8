"""Check the settings of a dataset that depend on the command, the model or an installed package."""

from typing import Any

from firstlight.config import schema
from firstlight.config.ranges import EVALUATION_COMMANDS, validate_batch_size
from firstlight.data.fold_settings import validate_folds
from firstlight.run.errors import ConfigError, MissingPackageError, invalid_value, missing_package
from firstlight.run.packages import is_installed

# The keys of an image dataset that mix labels, and those that require timm.
MIXING_KEYS = ("mixup_alpha", "cutmix_alpha")
TIMM_KEYS = (*MIXING_KEYS, "random_erasing")


def validate_data_settings(settings: dict[str, Any]) -> None:
    """Check that the batch size is known, that the fold exists, and that the augmentation of images is possible.

    Raises:
        ConfigError: If it is not.
        MissingPackageError: If the augmentation requires timm, which is not installed.
    """
    validate_batch_size(settings)
    data = settings["data"] or {}
    if {"num_folds", "fold"} <= data.keys():
        validate_folds(data["num_folds"], data["fold"])
    if settings["command"] in EVALUATION_COMMANDS:
        return
    for key in MIXING_KEYS:
        if data.get(key):
            validate_mixing(key, settings)
    for key in TIMM_KEYS:
        if data.get(key) and not is_installed("timm"):
            raise MissingPackageError(missing_package(f"data.{key}={data[key]}", "timm"))


def validate_mixing(key: str, settings: dict[str, Any]) -> None:
    """Check that there are classes and at least two images per batch, so that images can be mixed.

    Args:
        key: "mixup_alpha" or "cutmix_alpha", which is not 0.
        settings: A config with the sections "model" and "data".

    Raises:
        ConfigError: If images cannot be mixed.
    """
    data, fix = settings["data"], f"Set data.{key}=0."
    constants = schema.read_signature(str(data["_target_"])).constants
    # The key of the dataset wins. If it is null, the dataset takes the task of the model.
    task = data.get("task") if "task" in data else constants.get("task")
    if task is None:
        task = schema.read_signature(str(settings["model"]["_target_"])).constants.get("task")
    if task not in (None, "classification"):
        expected = f"0, because mixed labels are only defined for classes, but the task is {task}"
        raise ConfigError(invalid_value(f"data.{key}", data[key], expected, fix))
    if data.get("batch_size") == 1:
        expected = "0, because a batch has a single image (data.batch_size=1)"
        raise ConfigError(invalid_value(f"data.{key}", data[key], expected, fix))
