"""Build model, datamodule and trainer from a configuration."""

from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from firstlight.callbacks.best_checkpoint import BestCheckpointRecord
from firstlight.callbacks.exact_resume import ExactResume
from firstlight.callbacks.mps_graph_cache import EmptyMPSGraphCache
from firstlight.callbacks.save_config import SaveConfigInCheckpoint
from firstlight.checkpoint.io import load_checkpoint
from firstlight.config.instantiate import instantiate, instantiate_entries, validate_classes
from firstlight.config.options import AUTO
from firstlight.config.overrides import is_group_overridden
from firstlight.config.switches import find_active
from firstlight.data.datamodule import LabeledDataModule
from firstlight.data.images import ImageDataModule
from firstlight.data.metadata import load_metadata
from firstlight.data.resumable import make_dataloaders_resumable
from firstlight.data.slow_hooks import show_slow_hooks
from firstlight.data.text import TextDataModule
from firstlight.distributed.strategies import is_sharded, scale_lr
from firstlight.hardware.accelerator import find_best_accelerator
from firstlight.logger.metrics_csv import MetricsCSVLogger
from firstlight.model.freezing import apply_freeze_patterns
from firstlight.model.image_input import apply_image_input
from firstlight.model.init_from import find_weights_file, init_from_file
from firstlight.model.load import (
    allows_remote_code,
    build_datamodule,
    instantiate_model,
    is_task,
    load_model,
    restore_split,
    select_metadata,
)
from firstlight.model.optimizer import has_own_optimizers, set_optimizer_config
from firstlight.model.parameter_groups import validate_parameter_groups
from firstlight.model.task import Task
from firstlight.run.errors import ConfigError, DataError
from firstlight.run.files import ENGINE_KEY, to_plain_dict
from firstlight.trainer.defaults import apply_trainer_defaults
from firstlight.trainer.loggers import build_optional_loggers
from firstlight.trainer.trainer import Trainer, validate_hardware

Settings = dict[str, Any]

# A model trained on several devices is evaluated, used and timed on one.
SINGLE_DEVICE = {"devices": 1, "num_nodes": 1, "strategy": AUTO}
# Entries of the metadata that must be the same in training and afterwards.
LABEL_NAMES = {
    "class_names": ("Class names", "classes"),
    "label_names": ("Label names", "labels"),
    "target_name": ("Target names", "target"),
}


def resolve_auto_settings(cfg: DictConfig) -> DictConfig:
    """Resolve the `auto` values of the trainer: detect the accelerator and apply configs/trainer/<accelerator>.yaml.

    Raises:
        HardwareError: If this machine lacks the accelerator or the devices.
    """
    settings = to_plain_dict(cfg)
    validate_classes(settings)
    if settings["command"] != "train":
        settings["trainer"] |= SINGLE_DEVICE
    trainer = settings["trainer"]
    name = find_best_accelerator() if trainer["accelerator"] == AUTO else trainer["accelerator"]
    apply_trainer_defaults(trainer, name, is_task(settings["model"]["_target_"]))
    validate_hardware(**{key: trainer[key] for key in ("accelerator", "devices", "num_nodes", "strategy", "precision")})
    return OmegaConf.create(settings)


def build(
    cfg: DictConfig, checkpoint: str | None = None, read_data: bool = True
) -> tuple[LightningModule, LightningDataModule | None, Trainer]:
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
    # Validates the hardware and the path of weights before any data is read.
    settings = to_plain_dict(resolve_auto_settings(cfg))
    init_file = None if checkpoint else find_weights_file(settings.get("init_from"))
    seed_everything(settings["seed"], workers=True, verbose=False)
    data, saved = build_datamodule(settings), load_checkpoint(checkpoint) if checkpoint else {}
    restore_split(data, saved, is_evaluation=settings["command"] != "train")
    metadata = load_metadata(data) if read_data else {}
    # Again, because constructors and `setup` may use random numbers or set a seed of their own.
    seed_everything(settings["seed"], workers=True, verbose=False)
    model_kwargs = saved[ENGINE_KEY]["model_kwargs"] if saved else select_metadata(settings["model"], metadata)
    if saved:
        model = load_model(saved, allows_remote_code(settings), runs_setup=True)
        validate_label_names(model_kwargs, metadata)
    else:
        model = instantiate_model(settings, model_kwargs, defers_init=is_sharded(settings["trainer"]) and not init_file)
    validate_namespace(model, data)
    if init_file:
        init_from_file(model, init_file, settings["init_from"]["strict"], data)
    apply_freeze_patterns(model, settings.get("freeze") or [], settings.get("unfreeze") or [])
    if not isinstance(model, Task) or not isinstance(data, LabeledDataModule):
        seed_everything(settings["seed"], workers=True, verbose=False)  # their constructors may set another seed
    resolve_module_settings(settings, model, is_new=not saved)
    trainer = build_trainer(settings, model_kwargs)
    connect_components(model, data, trainer, settings["seed"])
    return model, data, trainer


def build_trainer(settings: Settings, model_kwargs: Settings | None = None) -> Trainer:
    """Build the trainer with its callbacks and loggers. Training always writes metrics.csv.

    Args:
        settings: A resolved config as plain values.
        model_kwargs: Metadata of the dataset that the constructor of the model received.
    """
    callbacks: list[Callback] = instantiate_entries(settings["callbacks"])
    loggers: list[Logger] = []
    if settings["command"] == "train":
        loggers.append(MetricsCSVLogger(settings["output_dir"]))
        callbacks += [
            SaveConfigInCheckpoint(settings, model_kwargs or {}),
            ExactResume(),
            BestCheckpointRecord(settings["output_dir"]),
            *([EmptyMPSGraphCache()] if settings["trainer"]["accelerator"] == "mps" else []),
        ]
    loggers += build_optional_loggers(settings)
    trainer: Trainer = instantiate(
        settings["trainer"], callbacks=callbacks, logger=loggers, default_root_dir=settings["output_dir"]
    )
    return trainer


def resolve_module_settings(settings: Settings, model: LightningModule, is_new: bool = False) -> None:
    """Resolve the settings that depend on the built module: optimizer, scheduler and gradient clipping.

    A module with its own `configure_optimizers` keeps it: the resolved config has neither optimizer nor scheduler.

    Raises:
        ConfigError: If a setting that the user chose would have no effect.
    """
    name, trainer = type(model).__name__, settings["trainer"]
    if has_own_optimizers(model):
        for group in ("optimizer", "scheduler"):
            if settings[group] and is_group_overridden(group):
                raise ConfigError(
                    f"{group}= has no effect, because {name} has its own configure_optimizers. Remove the override, or "
                    f"set the {group} in the settings of the model."
                )
            settings[group] = None
    else:
        optimizer = settings["optimizer"]
        if not optimizer:
            raise ConfigError(f"{name} has no configure_optimizers and needs an optimizer. Use e.g. optimizer=adamw.")
        optimizer |= {"lr": scale_lr(optimizer["lr"], trainer)} if "lr" in optimizer else {}
        set_optimizer_config(model, optimizer, settings["scheduler"] or {})
        if is_new:  # a loaded model may only be evaluated
            validate_parameter_groups(model, optimizer)
    uses_part = not model.automatic_optimization or find_active(settings, "unfreezing") is not None
    if uses_part and trainer["strategy"] == "ddp":
        # A step of one of several optimizers, or of an epoch with frozen parameters, uses a part of the parameters.
        trainer["strategy"] = "ddp_find_unused_parameters_true"
    if trainer.get("gradient_clip_val") == AUTO:
        trainer["gradient_clip_val"] = 1.0 if model.automatic_optimization else None
    elif trainer.get("gradient_clip_val") and not model.automatic_optimization:
        raise ConfigError(
            f"trainer.gradient_clip_val={trainer['gradient_clip_val']} has no effect: {name} optimizes manually. Clip "
            "in its training_step with self.clip_gradients, and set trainer.gradient_clip_val=null."
        )


def validate_namespace(*components: Any) -> None:
    """Check that model and datamodule are classes of the `lightning` package, not of `pytorch_lightning`.

    Raises:
        ConfigError: If one of them is.
    """
    for component in components:
        if any(base.__module__.partition(".")[0] == "pytorch_lightning" for base in type(component).__mro__):
            raise ConfigError(
                f"{type(component).__name__} is a class of the package pytorch_lightning, which cannot be mixed with "
                "lightning. Use a version of its package that imports lightning.pytorch, or copy the class and change "
                "`import pytorch_lightning` to `import lightning.pytorch`."
            )


def validate_label_names(trained: Settings, metadata: Settings) -> None:
    """Check that the dataset has the classes, labels or target that the model was trained on.

    Args:
        trained: Metadata that the constructor of the model received in training.
        metadata: Metadata of the dataset; empty if it is not loaded.

    Raises:
        DataError: If the names differ.
    """
    for key, (title, noun) in LABEL_NAMES.items():
        before, now = trained.get(key), metadata.get(key)
        if before is not None and now is not None and before != now:
            names = [", ".join(map(str, value[:9])) if isinstance(value, list) else value for value in (before, now)]
            raise DataError(
                f"{title} differ: the model was trained on {names[0]}, but the dataset has {names[1]}. Use a dataset "
                f"with the same {noun}, or train a new model."
            )


def connect_components(
    model: LightningModule, data: LightningDataModule | None, trainer: Trainer, seed: int = 0
) -> None:
    """Connect model and data, make the dataloaders resumable, and set how the network uses memory."""
    connect_data(model, data)
    if data is None:
        show_slow_hooks(model)
    if not isinstance(data, LabeledDataModule):
        make_dataloaders_resumable(model if data is None else data, trainer, seed)
    trainer.apply_memory_settings(model)


def connect_data(model: LightningModule, data: LightningDataModule | None) -> None:
    """Set the tokenizer or the normalization of a dataset as the model states them.

    Raises:
        ConfigError: If the inputs of the dataset do not fit the model.
    """
    if isinstance(data, TextDataModule):
        tokenizer, max_tokens = getattr(model, "tokenizer", None), getattr(model, "max_tokens", None)
        if tokenizer is None:
            raise ConfigError(
                f"{type(data).__name__} needs a model with a `tokenizer`, but {type(model).__name__} has none. Use "
                "e.g. model=bert, or a datamodule that tokenizes the texts itself."
            )
        if max_tokens is not None and data.max_length > max_tokens:
            raise ConfigError(
                f"{type(model).__name__} supports at most {max_tokens} tokens, got data.max_length="
                f"{data.max_length}. Set data.max_length to {max_tokens} or less."
            )
        data.set_tokenizer(tokenizer)
    if isinstance(data, ImageDataModule):
        apply_image_input(model, data)
