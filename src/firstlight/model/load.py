"""Build a dataset for a model, and a model from its config and the metadata of the dataset, or from a checkpoint."""

import functools
import inspect
from types import NoneType
from typing import Any, get_args

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from firstlight.config.instantiate import instantiate, locate, validate_classes
from firstlight.config.schema import read_signature
from firstlight.config.untrusted import deny_remote_code
from firstlight.data.labels import LABEL_DTYPES
from firstlight.data.slow_hooks import show_slow_hooks
from firstlight.data.split_datamodule import SplitDataModule
from firstlight.distributed.deferred_init import defer_initialization
from firstlight.model.task import Task
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import ENGINE_KEY

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
    validate_classes({"data": config["data"]})
    data = dict(config["data"])
    signature = read_signature(data["_target_"])
    if "task" in signature.parameters and "task" in signature.constants and data.get("task") is None:
        task = read_signature(config["model"]["_target_"]).constants.get("task")
        data["task"] = task if task in LABEL_DTYPES else None
    return show_slow_hooks(instantiate(data))


def instantiate_model(config: Config, metadata: Config, defers_init: bool) -> LightningModule:
    """Instantiate the model of a config.

    Args:
        config: Config with the key "model".
        metadata: Metadata of the dataset that the constructor names as arguments.
        defers_init: Whether a model that supports it initializes its weights only after they were sharded.
    """
    with defer_initialization(defers_init):
        model: LightningModule = instantiate(config["model"], **metadata)
    return model


def restore_split(data: LightningDataModule | None, saved: Config, is_evaluation: bool = True) -> None:
    """Split the samples of a dataset as the run did that wrote a checkpoint.

    Args:
        data: The dataset, before its setup.
        saved: The loaded checkpoint.
        is_evaluation: Whether the samples are only evaluated. See `SampleSplitter`.

    Raises:
        CheckpointError: If the split in the checkpoint is corrupt.
    """
    if isinstance(data, SplitDataModule) and (state := saved.get(type(data).__qualname__)):
        data.splitter.is_evaluation = is_evaluation
        data.load_state_dict(state)


def load_model(saved: Config, trust_remote_code: bool = False, runs_setup: bool = False) -> LightningModule:
    """Build the model of a checkpoint with its weights, without downloads.

    Args:
        saved: The loaded checkpoint. It contains config, metadata and weights, so the model need not call
            `save_hyperparameters`.
        trust_remote_code: Whether Python code that comes with pretrained weights may run.
        runs_setup: Whether a trainer will call `setup` of the model. If layers are missing until then, the weights are
            loaded after it.

    Raises:
        CheckpointError: If the weights do not fit the model.
        ConfigError: If the model needs code that comes with pretrained weights, and this is not allowed.
    """
    added = saved[ENGINE_KEY]
    config, kwargs = deny_remote_code(added["config"]["model"]), dict(added["model_kwargs"])
    validate_classes({"model": config})
    if "trust_remote_code" in config:
        # The checkpoint cannot grant this permission, only the caller.
        kwargs["trust_remote_code"] = trust_remote_code
    weights_name = kwargs.get("weights", config.get("weights"))
    if isinstance(weights_name, str) and accepts_random_weights(config["_target_"]) and not trust_remote_code:
        # Weights come from the checkpoint, not from a file or a Hub model that it names.
        if "trust_remote_code" in config:
            raise ConfigError(
                f"model.weights={weights_name} contains custom Python code. Review it, then set "
                "model.trust_remote_code=true to run it, or use another checkpoint."
            )
        kwargs["weights"] = None
    model: LightningModule = instantiate(config, **kwargs)
    model.on_load_checkpoint(saved)
    weights = saved["state_dict"]
    if not has_same_keys(model, weights) and is_overridden("configure_model", model):
        model.configure_model()
    if runs_setup and not has_same_keys(model, weights) and is_overridden("setup", model):
        load_weights_after_setup(model, weights)
    else:
        load_weights(model, weights)
    return model


def is_task(target: str) -> bool:
    """Return True if an import path names a subclass of `Task`."""
    found = locate(target)
    return isinstance(found, type) and issubclass(found, Task)


def accepts_random_weights(target: str) -> bool:
    """Return True if an import path names a `Task` whose `weights` may be None, which stands for random weights."""
    parameter = inspect.signature(locate(target)).parameters.get("weights") if is_task(target) else None
    return parameter is not None and (parameter.default is None or NoneType in get_args(parameter.annotation))


def has_same_keys(model: LightningModule, weights: Config) -> bool:
    """Return True if a model has the parameters and buffers of a state dict, whatever their shapes."""
    return model.state_dict().keys() == weights.keys()


def load_weights(model: LightningModule, weights: Config) -> None:
    """Load a state dict into a model.

    Raises:
        CheckpointError: If the weights do not fit the model.
    """
    try:
        model.load_state_dict(weights, strict=model.strict_loading)
    except RuntimeError as error:
        fix = "Load them with the code that the run was trained with."
        if not has_same_keys(model, weights) and is_overridden("setup", model):
            fix = f"If setup adds layers, only `make evaluate` and `make predict` can load them. {fix}"
        raise CheckpointError(
            f"The weights do not fit {type(model).__name__} ({' '.join(str(error).split())[:300]}). {fix}"
        ) from error


def load_weights_after_setup(model: LightningModule, weights: Config) -> None:
    """Load a state dict at the end of the next call of the model's `setup`, which adds layers."""
    setup = model.setup

    @functools.wraps(setup)
    def setup_and_load(stage: str) -> None:
        del vars(model)["setup"]  # Later stages must keep the weights of the training.
        setup(stage)
        load_weights(model, weights)

    vars(model)["setup"] = setup_and_load


def allows_remote_code(config: Config) -> bool:
    """Return True if the config allows Python code that comes with pretrained weights to run."""
    return bool(config["model"].get("trust_remote_code"))
