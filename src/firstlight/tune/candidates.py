"""The settings that are compared: one list of values for each key of the trainer."""

from typing import Any

import torch
from torch import nn

from firstlight.config.options import AUTO
from firstlight.model.optimizer import should_fuse
from firstlight.trial.runner import TrialRunner

Settings = dict[str, Any]

# Settings that run everywhere: the float32 reference, and the start of the search if the defaults are wrong.
SAFE_VALUES: Settings = {
    "precision": "32-true",
    "channels_last": False,
    "compile": False,
    "compile_mode": "default",
    "fused_optimizer": False,
}
# Compiling takes half a minute, and max-autotune several minutes, which nothing can interrupt.
COMPILE_MINUTES, MAX_AUTOTUNE_MINUTES = 1, 8


def list_axes(runner: TrialRunner, trainer: Settings, minutes: float) -> dict[str, list[Settings]]:
    """Return the alternatives of each setting that the user has not set, in the order in which they are tried.

    Args:
        runner: Knows model, optimizer and device.
        trainer: Trainer settings of the config, with their `auto` values.
        minutes: Maximum duration of the search.
    """
    axes: dict[str, list[Settings]] = {
        "precision": [{"precision": name} for name in list_precisions(runner.device)],
        "channels_last": [{"channels_last": value} for value in (True, False)] if has_convolutions(runner) else [],
        "fused_optimizer": [{"fused_optimizer": value} for value in (True, False)] if can_fuse(runner) else [],
        "compile": [{"compile": True, "compile_mode": mode} for mode in list_compile_modes(runner, trainer, minutes)],
    }
    return {name: values for name, values in axes.items() if values and trainer.get(name, AUTO) == AUTO}


def list_precisions(device: torch.device) -> list[str]:
    """Return the precisions of a device; GPUs without bfloat16 units use float16."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return ["32-true", "16-mixed"]
    return ["32-true", "bf16-mixed"]


def has_convolutions(runner: TrialRunner) -> bool:
    """Return True if the model has convolutions of images."""
    return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in runner.model.modules())


def can_fuse(runner: TrialRunner) -> bool:
    """Return True if the optimizer of the config has a fused kernel and leaves the choice to the trainer."""
    config = runner.settings["optimizer"]
    return bool(config) and "fused" not in config and should_fuse(config, default=True)


def list_compile_modes(runner: TrialRunner, trainer: Settings, minutes: float) -> list[str]:
    """Return the modes of torch.compile that the user has not ruled out."""
    if minutes < COMPILE_MINUTES:
        return []
    if trainer.get("compile_mode", AUTO) != AUTO:
        return [trainer["compile_mode"]]
    graphs = runner.device.type == "cuda" and runner.settings["trainer"]["accumulate_grad_batches"] == 1
    modes = ["reduce-overhead"] if graphs else []
    return [*modes, "default", *(["max-autotune"] if minutes >= MAX_AUTOTUNE_MINUTES else [])]


def list_worker_counts(runner: TrialRunner, default: int) -> list[int]:
    """Return the numbers of DataLoader workers to try: none if the data is in memory, or the user has set the number.

    Args:
        runner: Knows the datamodule.
        default: The number for this machine.
    """
    data, config = runner.data, runner.settings["data"] or {}
    is_chosen = config.get("num_workers", 0) is None and hasattr(data, "num_workers")
    if not is_chosen or getattr(data, "in_memory", False):
        return []
    return [count for count in (0, 2, 4, 8, 16) if count <= 2 * default]


def format_values(values: Settings) -> str:
    """Return settings as overrides of the command line."""
    names = [name for name in values if name != "compile_mode" or values.get("compile")]
    texts = {True: "true", False: "false", None: "null"}
    return " ".join(f"trainer.{name}={texts.get(values[name], values[name])}" for name in names)
