"""Run the preflight checks. Heavy imports are inside functions, so that invalid values are reported immediately."""

import sys
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.run.errors import ConfigError, HardwareError, invalid_value


def validate_preflight_config(cfg: DictConfig) -> None:
    """Check the accelerator and the memory size of the Mac.

    Raises:
        ConfigError: If the accelerator is not MPS, or the memory size is not positive.
    """
    size = cfg.mac_memory_gb
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or size <= 0):
        fix = "Use e.g. mac_memory_gb=16."
        raise ConfigError(invalid_value("mac_memory_gb", size, "a positive number or null", fix))
    if cfg.trainer.accelerator != "mps":
        raise ConfigError(
            f"preflight only checks MPS, but trainer.accelerator={cfg.trainer.accelerator}. "
            "Remove the override, or use trainer=mps."
        )


def run_preflight(cfg: DictConfig) -> dict[str, Any]:
    """Return the results of the checks as plain values."""
    from firstlight.build import build
    from firstlight.config.instantiate import validate_classes
    from firstlight.config.options import AUTO
    from firstlight.config.switches import find_active
    from firstlight.data.datamodule import LabeledDataModule
    from firstlight.model.load import is_task
    from firstlight.mps.dry_run import dry_run
    from firstlight.preflight import format_report
    from firstlight.run.files import to_plain_dict
    from firstlight.trainer.defaults import apply_trainer_defaults

    # Only an average of the weights needs memory on the device.
    config = to_plain_dict(cfg)
    config["callbacks"] = {"ema": find_active(config, "ema")}
    validate_classes(config)
    trainer_config = config["trainer"]
    has_chip_defaults = trainer_config["precision"] == AUTO and is_task(config["model"]["_target_"])
    apply_trainer_defaults(trainer_config, "mps", is_task(config["model"]["_target_"]))
    precision, deterministic = trainer_config["precision"], trainer_config["deterministic"] is True
    # Build the same objects as for training, but on the CPU, which every machine has.
    trainer_config |= {"accelerator": "cpu", "precision": "32-true", "deterministic": None}
    trainer_config |= {"profiler": None, "compile": False}
    model, data, trainer = build(OmegaConf.create(config))
    report = dry_run(model, data, trainer, precision, deterministic=deterministic)
    data_name = type(model if data is None else data).__name__
    run = {"model": type(model).__name__, "data": data_name, "precision": precision}
    run["note"] = describe_other_chips() if has_chip_defaults else None
    comparison = compare_activation_checkpointing(
        model, trainer.activation_checkpointing, report, lambda: dry_run(model, data, trainer, precision, False)
    )
    batch_size = data.batch_size if isinstance(data, LabeledDataModule) else None
    results = run | format_report.summarize(report, batch_size, cfg.mac_memory_gb)
    return results | {"activation_checkpointing": comparison}


def describe_other_chips() -> str | None:
    """Return a line about the chips whose `auto` precision is not checked, or None on a Mac, whose chip is known.

    Convolutional networks can need more memory with bf16-mixed, so that a batch fits on an M4 but not on an M5.
    """
    from firstlight.hardware.apple_chip import BF16_GENERATIONS

    if sys.platform == "darwin":
        return None
    chips = " or ".join(f"M{generation}" for generation in sorted(BF16_GENERATIONS))
    return f"An {chips} uses bf16-mixed instead: to check it, set trainer.precision=bf16-mixed."


def compare_activation_checkpointing(
    model: Any, is_enabled: bool, report: Any, run_again: Callable[[], Any]
) -> dict[str, Any] | None:
    """Return the peak memory of a training step in bytes, with and without activation checkpointing.

    Args:
        model: The model of the dry run; this function changes whether it checkpoints activations.
        is_enabled: Whether it does so.
        report: Result of the dry run.
        run_again: Does the dry run again.

    Returns:
        None if the model has no repeated blocks, or a dry run did not complete.
    """
    from firstlight.model import activation_checkpointing

    try:
        if is_enabled:
            activation_checkpointing.disable_activation_checkpointing(model)
        else:
            activation_checkpointing.enable_activation_checkpointing(model)
    except ConfigError:
        return None
    peaks = [sum(result.peaks.get("training", {}).values()) for result in (report, run_again())]
    if not all(peaks):
        return None
    without, with_ = reversed(peaks) if is_enabled else peaks
    return {"enabled": is_enabled, "peak_without": without, "peak_with": with_}


def raise_if_unsupported(results: dict[str, Any]) -> None:
    """Raise the first error of the results.

    Raises:
        HardwareError: If the checks found errors.
    """
    if results["errors"]:
        first, *others = results["errors"]
        more = f" (first of {len(others) + 1} errors)" if others else ""
        raise HardwareError(f"This run would fail on MPS{more}: {first}")
