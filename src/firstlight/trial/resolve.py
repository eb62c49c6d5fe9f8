"""Resolve the settings of a new training run that are measured: data.batch_size=auto, and those of `make tune`."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from firstlight.build import resolve_auto_settings
from firstlight.config.options import AUTO, iter_options, load_option
from firstlight.distributed.strategies import count_processes, scale_lr
from firstlight.hardware.device import release_memory
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from firstlight.trial.tuned import TUNED_FILE, find_entry, make_key

DEFAULT_BATCH_SIZE = 32


def resolve_measured_settings(cfg: DictConfig) -> dict[str, str]:
    """Replace `auto` values of the config of a new training run, and return the header lines about them.

    A resumed run keeps the values of its config, whatever has been measured since. The config of another command states
    no measured values.

    Args:
        cfg: Config of a training run, modified in place.

    Raises:
        ConfigError: If data.batch_size=auto is set for several devices.
        HardwareError: If this machine lacks the accelerator, or no batch size fits.
    """
    if cfg.resume:
        return {}
    lines = resolve_batch_size(cfg) if (cfg.data or {}).get("batch_size") == AUTO else {}
    return lines | (apply_tuned_settings(cfg) if TUNED_FILE.is_file() else {})


def resolve_batch_size(cfg: DictConfig) -> dict[str, str]:
    """Set data.batch_size to the largest batch that trains, and scale the learning rate if trainer.scale_lr is set."""
    from firstlight.trial.batch_size import find_batch_size

    default = find_default_batch_size(cfg)
    settings = to_plain_dict(cfg)
    settings["data"]["batch_size"] = default
    settings = to_plain_dict(resolve_auto_settings(DictConfig(settings)))
    trainer = settings["trainer"]
    if count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) > 1:
        raise ConfigError(
            "data.batch_size=auto supports a single device, but the trainer uses several. Find the number with "
            "trainer.devices=1, then set it."
        )
    found, reason = find_batch_size(settings, default)
    release_memory()  # of the probes
    cfg.data.batch_size = found
    line = f"{found}, {reason}"
    if cfg.trainer.get("scale_lr") and "lr" in (cfg.optimizer or {}):
        cfg.optimizer.lr = scale_lr(cfg.optimizer.lr, trainer, found / default)
        line += f"; lr {cfg.optimizer.lr:.4g} ({cfg.trainer.scale_lr}, from batch size {default})"
    return {"batch size": line}


def find_default_batch_size(cfg: DictConfig) -> int:
    """Return the batch size of the selected option of the dataset, or of the first option with its class."""
    choices: Any = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    options = [load_option("data", choices["data"])] if choices.get("data") else []
    options += [option for _, option in iter_options("data") if option.get("_target_") == cfg.data.get("_target_")]
    sizes = [option.get("batch_size") for option in options]
    return next((size for size in sizes if isinstance(size, int)), DEFAULT_BATCH_SIZE)


def apply_tuned_settings(cfg: DictConfig) -> dict[str, str]:
    """Set the `auto` values of the trainer that `make tune` has found on this machine for the same training run."""
    settings = to_plain_dict(resolve_auto_settings(cfg))
    trainer = settings["trainer"]
    if count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) > 1:
        return {}
    entry, problem = find_entry(make_key(to_plain_dict(cfg), trainer["accelerator"]))
    if entry is None:
        return {"tuned": problem} if problem else {}
    with open_dict(cfg):
        for name, value in entry["trainer"].items():
            if cfg.trainer.get(name) == AUTO:
                cfg.trainer[name] = value
        if cfg.trainer.get("compile_min_steps") == AUTO and entry.get("compile_min_steps") is not None:
            cfg.trainer.compile_min_steps = entry["compile_min_steps"]
        if entry.get("num_workers") is not None and cfg.data and cfg.data.get("num_workers", 0) is None:
            cfg.data.num_workers = entry["num_workers"]
    return {"tuned": f"on this machine, {str(entry['date'])[:10]}, torch {entry['torch']}"}
