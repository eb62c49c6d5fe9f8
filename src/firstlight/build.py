"""From a configuration to model, data and trainer; from a checkpoint back to its model."""

import inspect
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from firstlight.callbacks.resume_state import Resumption
from firstlight.callbacks.save_config import Recipe
from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.instantiate import built, locate
from firstlight.config.options import AUTO, choice, option_files
from firstlight.data.datamodule import Data
from firstlight.data.text import Text
from firstlight.distributed.strategies import num_processes
from firstlight.hardware.accelerator import best_accelerator
from firstlight.hardware.device import best_precision
from firstlight.logger.metrics_csv import MetricsCSV
from firstlight.model.classifier import Classifier
from firstlight.run.files import plain
from firstlight.run.redaction import hidden
from firstlight.trainer.trainer import Trainer, require_machine

Settings = dict[str, Any]

# What has been trained on several devices is evaluated, used and timed on one.
ONE_DEVICE = {"devices": 1, "num_nodes": 1, "strategy": AUTO}


def build(cfg: DictConfig, checkpoint: str | None = None) -> tuple[Classifier, Data, Trainer]:
    """Build what the configuration describes, the model from a checkpoint if one is given.

    Raises:
        ValueError: the machine lacks the accelerator, or the data cannot be had.
    """
    # First of all: without its device there is no use in reading data.
    return build_here(settings_here(cfg), checkpoint)


def settings_here(cfg: DictConfig) -> Settings:
    """Return a configuration as plain values, the trainer's as this machine has them.

    Raises:
        ValueError: this machine cannot train so, whatever the data.
    """
    settings = plain(cfg)
    if settings["command"] != "train":
        settings["trainer"] |= ONE_DEVICE
    settings["trainer"] = for_this_machine(settings["trainer"])
    decisive = ("accelerator", "devices", "num_nodes", "strategy", "precision")
    require_machine(**{name: settings["trainer"][name] for name in decisive})
    return settings


def build_here(settings: Settings, checkpoint: str | None = None) -> tuple[Classifier, Data, Trainer]:
    """Build model, data and trainer of settings whose accelerator is here."""
    seed_everything(settings["seed"], workers=True, verbose=False)
    data: Data = construct(settings["data"])
    data.prepare_data()
    data.setup()
    model = build_model(settings, data.facts) if checkpoint is None else load_model(checkpoint, allows_code(settings))
    require_same_classes(model, data)
    trainer = build_trainer(settings)
    join(model, data, trainer)
    return model, data, trainer


def require_same_classes(model: Classifier, data: Data) -> None:
    """Refuse data whose labels do not mean what the model learned.

    Raises:
        ValueError: the class names differ.
    """
    if data.class_names != model.class_names:
        raise ValueError(
            f"The model knows the classes {', '.join(model.class_names[:9])}, but the data has "
            f"{', '.join(data.class_names[:9])}: give data with the same ones, empty or not, or train anew"
        )


def join(model: Classifier, data: Data, trainer: Trainer) -> None:
    """Fit model and data to each other and to the trainer."""
    if isinstance(data, Text):
        if model.max_tokens is not None and data.max_length > model.max_tokens:
            raise ValueError(
                f"{type(model).__name__} reads {model.max_tokens} tokens, but data.max_length={data.max_length}: "
                f"give data.max_length={model.max_tokens} or less"
            )
        data.connect(model.tokenizer)
    trainer.prepare(model.network)


def build_model(settings: Settings, facts: Settings) -> Classifier:
    """Build a model of what it needs to know of the data, and of its optimizer and schedule.

    Raises:
        ValueError: its class does not keep its settings, so that no checkpoint could be loaded.
    """
    optimizer = {**settings["optimizer"], "lr": scaled_lr(settings)}
    known = {**facts, "optimizer": optimizer, "scheduler": settings["scheduler"]}
    accepted = inspect.signature(locate(settings["model"]["_target_"])).parameters
    model: Classifier = construct(
        settings["model"], **{name: value for name, value in known.items() if name in accepted}
    )
    if not model.hparams:
        raise ValueError(
            f"A checkpoint holds its model's settings, but {type(model).__name__} keeps none: call "
            "self.save_hyperparameters(logger=False) in its __init__"
        )
    return model


def scaled_lr(settings: Settings) -> float:
    """Return the learning rate that the settings mean for all their devices."""
    trainer, lr = settings["trainer"], settings["optimizer"]["lr"]
    devices = num_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
    return float(lr * {None: 1, "linear": devices, "sqrt": devices**0.5}[trainer.get("scale_lr")])


def build_trainer(settings: Settings) -> Trainer:
    """Build the trainer with its callbacks and loggers; metrics.csv is written whatever the loggers."""
    callbacks: list[Callback] = [construct(node) for node in (settings["callbacks"] or {}).values() if node]
    loggers: list[Logger] = []
    if settings["command"] == "train":
        loggers.append(MetricsCSV(settings["output_dir"]))
        callbacks += [Recipe(settings), Resumption()]
    for node in (settings["logger"] or {}).values():
        if node:
            loggers.append(construct(node))
            loggers[-1].log_hyperparams(hidden(settings))
    trainer: Trainer = construct(
        settings["trainer"], callbacks=callbacks, logger=loggers, default_root_dir=settings["output_dir"]
    )
    return trainer


def for_this_machine(trainer: Settings) -> Settings:
    """Put a value for each `auto`: the accelerator that is here, and what its own file in configs/trainer says."""
    name = best_accelerator() if trainer["accelerator"] == AUTO else trainer["accelerator"]
    own = {
        **(choice("trainer", name) if name in option_files("trainer") else {}),
        "accelerator": name,
        "strategy": AUTO,
    }
    if own.get("precision") == AUTO:
        own["precision"] = best_precision()
    return {key: own[key] if value == AUTO and key in own else value for key, value in trainer.items()}


def allows_code(settings: Settings) -> bool:
    """Say whether it was typed that code which comes with weights may run."""
    return bool(settings["model"].get("allow_remote_code"))


def load_model(checkpoint: str | Path, allow_remote_code: bool = False) -> Classifier:
    """Return the model of a checkpoint with its weights: nothing is downloaded, no setting repeated.

    Raises:
        ValueError: the file is no checkpoint of this project.
    """
    saved = checkpoint_io.load(checkpoint)
    known = {**saved["hyper_parameters"], **saved["rebuild"]}
    if "allow_remote_code" in known:
        known["allow_remote_code"] = allow_remote_code  # the file's own word for it counts nothing
    model: Classifier = locate(saved["config"]["model"]["_target_"])(**known)
    model.load_state_dict(saved["state_dict"])
    return model


def construct(node: Settings, **more: Any) -> Any:
    """Build the object that settings describe: the one place where a `_target_` becomes an object."""
    settings = {name: value for name, value in node.items() if name != "_target_"}
    return built(locate(node["_target_"]), **settings, **more)


def chosen_checkpoint(cfg: DictConfig) -> str:
    """Return the checkpoint that `ckpt=` or `run=` (its best, else its last) names.

    Raises:
        ValueError: the run has none.
    """
    if cfg.ckpt is not None and str(cfg.ckpt) not in ("best", "last"):
        return str(cfg.ckpt)
    folder = Path(cfg.run) / "checkpoints"
    for name in [cfg.ckpt] if cfg.ckpt else ["best", "last"]:
        if (folder / f"{name}.ckpt").exists():
            return str(folder / f"{name}.ckpt")
    raise ValueError(f"{cfg.run} has no checkpoint yet: let its training finish an epoch, or give ckpt=<file>")


def newest_checkpoint(folder: str) -> str:
    """Return the newest checkpoint of a run that is whole, and tell which ones are not.

    Raises:
        ValueError: there is none.
    """
    path, damaged = checkpoint_io.newest_whole(Path(folder))
    for sentence in damaged:
        print(f"{sentence.partition(': give')[0]}; going on from {path.name}", flush=True)
    return str(path)


def build_for_inputs(cfg: DictConfig, checkpoint: str) -> tuple[Classifier, Data, Trainer, list[str]]:
    """Build a checkpoint's model and its data's way of reading, for unlabelled inputs; also name each input.

    Raises:
        ValueError: the machine lacks the accelerator, or there is nothing to read.
    """
    settings = settings_here(cfg)
    data: Data = construct(settings["data"])
    model = load_model(checkpoint, allows_code(settings))
    trainer = build_trainer(settings)
    join(model, data, trainer)
    if isinstance(data, Text) and settings["text_column"]:
        data.text_column = settings["text_column"]
    names = data.take_inputs(settings["input"])
    return model, data, trainer, names
