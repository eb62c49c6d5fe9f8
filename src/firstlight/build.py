"""Build model, datamodule and trainer from a configuration."""

import inspect
from typing import Any

from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from firstlight.callbacks.exact_resume import ExactResume
from firstlight.callbacks.save_config import SaveConfigInCheckpoint
from firstlight.config.instantiate import instantiate, locate
from firstlight.config.options import AUTO, list_option_files, load_option
from firstlight.data.datamodule import ClassificationDataModule
from firstlight.data.text import TextDataModule
from firstlight.distributed.strategies import scale_lr
from firstlight.hardware.accelerator import find_best_accelerator
from firstlight.hardware.device import get_default_cpu_precision
from firstlight.logger.metrics_csv import MetricsCSVLogger
from firstlight.model.classifier import Classifier
from firstlight.model.load import allows_remote_code, load_model
from firstlight.run.errors import ConfigError, DataError
from firstlight.run.files import to_plain_dict
from firstlight.run.redaction import redact
from firstlight.trainer.trainer import Trainer, validate_hardware

Settings = dict[str, Any]

# A model trained on several devices is evaluated, used and timed on one.
SINGLE_DEVICE = {"devices": 1, "num_nodes": 1, "strategy": AUTO}


def resolve_auto_settings(cfg: DictConfig) -> DictConfig:
    """Resolve the `auto` values of the trainer: detect the accelerator and apply configs/trainer/<accelerator>.yaml.

    Raises:
        HardwareError: If this machine lacks the accelerator or the devices.
    """
    settings = to_plain_dict(cfg)
    if settings["command"] != "train":
        settings["trainer"] |= SINGLE_DEVICE
    trainer = settings["trainer"]
    name = find_best_accelerator() if trainer["accelerator"] == AUTO else trainer["accelerator"]
    defaults = load_option("trainer", name) if name in list_option_files("trainer") else {}
    defaults |= {"accelerator": name, "strategy": AUTO}
    if defaults.get("precision") == AUTO:
        defaults["precision"] = get_default_cpu_precision()
    trainer |= {key: defaults[key] for key, value in trainer.items() if value == AUTO and key in defaults}
    keys = ("accelerator", "devices", "num_nodes", "strategy", "precision")
    validate_hardware(**{key: trainer[key] for key in keys})
    return OmegaConf.create(settings)


def build(
    cfg: DictConfig, checkpoint: str | None = None, read_data: bool = True
) -> tuple[Classifier, ClassificationDataModule, Trainer]:
    """Build the model, the datamodule and the trainer from a config.

    Args:
        cfg: Config of a command.
        checkpoint: If given, load the model from this checkpoint.
        read_data: Whether to download and load the dataset. False leaves it empty, to predict other inputs.

    Raises:
        HardwareError: If this machine lacks the accelerator.
        DataError: If the data cannot be loaded.
        ConfigError: If model, data and trainer do not fit together.
    """
    # Validates the hardware before any data is read.
    settings = to_plain_dict(resolve_auto_settings(cfg))
    seed_everything(settings["seed"], workers=True, verbose=False)
    data: ClassificationDataModule = instantiate(settings["data"])
    if read_data:
        data.prepare_data()
        data.setup()
    model = (
        load_model(checkpoint, allows_remote_code(settings))
        if checkpoint
        else _build_model(settings, data.model_kwargs)
    )
    if read_data:
        _validate_class_names(model, data)
    trainer = build_trainer(settings)
    _connect_components(model, data, trainer)
    return model, data, trainer


def build_trainer(settings: Settings) -> Trainer:
    """Build the trainer with its callbacks and loggers. Training always writes metrics.csv.

    Args:
        settings: A resolved config as plain values.
    """
    callbacks: list[Callback] = [instantiate(node) for node in (settings["callbacks"] or {}).values() if node]
    loggers: list[Logger] = []
    if settings["command"] == "train":
        loggers.append(MetricsCSVLogger(settings["output_dir"]))
        callbacks += [SaveConfigInCheckpoint(settings), ExactResume()]
    for node in (settings["logger"] or {}).values():
        if node:
            loggers.append(instantiate(node))
            loggers[-1].log_hyperparams(redact(settings))
    trainer: Trainer = instantiate(
        settings["trainer"], callbacks=callbacks, logger=loggers, default_root_dir=settings["output_dir"]
    )
    return trainer


def _build_model(settings: Settings, model_kwargs: Settings) -> Classifier:
    """Build a model with its optimizer and scheduler config.

    Args:
        settings: A resolved config as plain values.
        model_kwargs: Arguments that the dataset determines, such as the class names.

    Raises:
        ConfigError: If the model does not save its hyperparameters, so that its checkpoints could not be loaded.
    """
    optimizer = {**settings["optimizer"], "lr": scale_lr(settings["optimizer"]["lr"], settings["trainer"])}
    kwargs = {**model_kwargs, "optimizer": optimizer, "scheduler": settings["scheduler"]}
    accepted = inspect.signature(locate(settings["model"]["_target_"])).parameters
    kwargs = {name: value for name, value in kwargs.items() if name in accepted}
    model: Classifier = instantiate(settings["model"], **kwargs)
    if not model.hparams:
        raise ConfigError(
            f"{type(model).__name__} does not save its hyperparameters, so its checkpoints could not be loaded. Call "
            "self.save_hyperparameters(logger=False) in __init__."
        )
    return model


def _validate_class_names(model: Classifier, data: ClassificationDataModule) -> None:
    """Check that the dataset has the classes that the model was trained on.

    Raises:
        DataError: If the class names differ.
    """
    if data.class_names != model.class_names:
        raise DataError(
            f"Class names differ: the model was trained on {', '.join(model.class_names[:9])}, but the dataset has "
            f"{', '.join(data.class_names[:9])}. Use a dataset with the same classes, or train a new model."
        )


def _connect_components(model: Classifier, data: ClassificationDataModule, trainer: Trainer) -> None:
    """Set the tokenizer of the dataset and the memory format of the network."""
    if isinstance(data, TextDataModule):
        if model.max_tokens is not None and data.max_length > model.max_tokens:
            raise ConfigError(
                f"{type(model).__name__} supports at most {model.max_tokens} tokens, got data.max_length="
                f"{data.max_length}. Set data.max_length to {model.max_tokens} or less."
            )
        data.set_tokenizer(model.tokenizer)
    trainer.apply_memory_format(model.network)
