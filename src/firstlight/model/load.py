"""Build a dataset for a model, and a model from its config and the metadata of the dataset, or from a checkpoint."""

from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from firstlight.config.instantiate import instantiate
from firstlight.config.schema import read_signature
from firstlight.data.labels import LABEL_DTYPES
from firstlight.run.errors import CheckpointError

Config = dict[str, Any]


def select_metadata(config: Config, metadata: Config) -> Config:
    """Return the metadata that the constructor of a model names as arguments; keys that the config sets win.

    Args:
        config: `_target_` and arguments of the model.
        metadata: Metadata of the dataset.
    """
    signature = read_signature(config["_target_"])
    names = signature.parameters | signature.forwarded
    return {name: value for name, value in metadata.items() if name in names and name not in config}


def build_datamodule(config: Config) -> LightningDataModule | None:
    """Return the datamodule of a config, or None if the model has dataloaders of its own.

    A dataset of the engine whose key `task` is null gets the task of the model.

    Args:
        config: Config with the keys "model" and "data".
    """
    if not config["data"]:
        return None
    data = dict(config["data"])
    signature = read_signature(data["_target_"])
    if "task" in signature.parameters and "task" in signature.constants and data.get("task") is None:
        task = read_signature(config["model"]["_target_"]).constants.get("task")
        data["task"] = task if task in LABEL_DTYPES else None
    return instantiate(data)


def load_model(saved: Config, trust_remote_code: bool = False) -> LightningModule:
    """Build the model of a checkpoint with its weights, without downloads.

    Args:
        saved: The loaded checkpoint. It contains config, metadata and weights, so the model need not call
            `save_hyperparameters`.
        trust_remote_code: Whether Python code that comes with pretrained weights may run.

    Raises:
        CheckpointError: If the weights do not fit the model.
    """
    config, kwargs = saved["config"]["model"], dict(saved["model_kwargs"])
    if "trust_remote_code" in config:
        # The checkpoint cannot grant this permission, only the caller.
        kwargs["trust_remote_code"] = trust_remote_code
    model: LightningModule = instantiate(config, **kwargs)
    model.on_load_checkpoint(saved)
    try:
        model.load_state_dict(saved["state_dict"], strict=model.strict_loading)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights do not fit {type(model).__name__} ({' '.join(str(error).split())[:300]}). Load them with the "
            "code that the run was trained with."
        ) from error
    return model


def allows_remote_code(config: Config) -> bool:
    """Return True if the config allows Python code that comes with pretrained weights to run."""
    return bool(config["model"].get("trust_remote_code"))
