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
from firstlight.run.files import to_plain_dict
from firstlight.run.redaction import redact
from firstlight.trainer.trainer import Trainer, validate_hardware

Settings = dict[str, Any]

# What was trained on several devices is evaluated, used and timed on one.
SINGLE_DEVICE = {"devices": 1, "num_nodes": 1, "strategy": AUTO}


def resolve_auto_settings(cfg: DictConfig) -> DictConfig:
    """Return the configuration for this machine: each `auto` of the trainer becomes a value.

    Raises:
        ValueError: If this machine cannot train so, whatever the data.
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
    decisive = ("accelerator", "devices", "num_nodes", "strategy", "precision")
    validate_hardware(**{key: trainer[key] for key in decisive})
    return OmegaConf.create(settings)


def build(
    cfg: DictConfig, checkpoint: str | None = None, read_data: bool = True
) -> tuple[Classifier, ClassificationDataModule, Trainer]:
    """Build what the configuration describes.

    Args:
        cfg: The configuration of a command.
        checkpoint: The model is loaded from this file; None builds a new one.
        read_data: Download and read the dataset; False leaves it empty, for inputs that are not part of it.

    Raises:
        ValueError: If the machine lacks the accelerator, the data cannot be had, or the parts do not fit together.
    """
    # Without its device there is no use in reading data.
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
    """Build the trainer with its callbacks and loggers; metrics.csv is written whatever the loggers.

    Args:
        settings: A resolved configuration as plain values.
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


def _build_model(settings: Settings, facts: Settings) -> Classifier:
    """Build a model of what it needs to know of the data, and of its optimizer and schedule.

    Raises:
        ValueError: If its class does not keep its settings, so that no checkpoint could be loaded.
    """
    optimizer = {**settings["optimizer"], "lr": scale_lr(settings["optimizer"]["lr"], settings["trainer"])}
    known = {**facts, "optimizer": optimizer, "scheduler": settings["scheduler"]}
    accepted = inspect.signature(locate(settings["model"]["_target_"])).parameters
    known = {name: value for name, value in known.items() if name in accepted}
    model: Classifier = instantiate(settings["model"], **known)
    if not model.hparams:
        raise ValueError(
            f"A checkpoint holds its model's settings, but {type(model).__name__} keeps none: call "
            "self.save_hyperparameters(logger=False) in its __init__"
        )
    return model


def _validate_class_names(model: Classifier, data: ClassificationDataModule) -> None:
    """Refuse data whose labels do not mean what the model learned.

    Raises:
        ValueError: If the class names differ.
    """
    if data.class_names != model.class_names:
        raise ValueError(
            f"The model knows the classes {', '.join(model.class_names[:9])}, but the data has "
            f"{', '.join(data.class_names[:9])}: give data with the same ones, empty or not, or train anew"
        )


def _connect_components(model: Classifier, data: ClassificationDataModule, trainer: Trainer) -> None:
    """Fit model and data to each other and to the trainer."""
    if isinstance(data, TextDataModule):
        if model.max_tokens is not None and data.max_length > model.max_tokens:
            raise ValueError(
                f"{type(model).__name__} reads {model.max_tokens} tokens, but data.max_length={data.max_length}: "
                f"give data.max_length={model.max_tokens} or less"
            )
        data.set_tokenizer(model.tokenizer)
    trainer.apply_memory_format(model.network)
