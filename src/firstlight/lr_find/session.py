"""A run of `make lr-find`: build the model, run the range test, write the losses, and print the suggestion."""

import copy
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from firstlight.build import Settings, build
from firstlight.cli.console import print_fields
from firstlight.cli.summary import count_split_sizes, describe_data, describe_layers
from firstlight.config.schema import read_signature
from firstlight.config.switches import find_active
from firstlight.distributed.strategies import count_processes
from firstlight.lr_find.finder import WINDOWS_PER_RANGE, RatioLRFinder, get_lr_attribute, run_range_test
from firstlight.model.optimizer import has_own_optimizers
from firstlight.run.errors import TrainingError
from firstlight.run.files import to_plain_dict, write_atomically, write_figure
from firstlight.run.overrides import list_overrides
from firstlight.run.text import format_command, format_csv

# Keys of this command that `make train` does not have, or has for its own run directory.
OWN_KEYS = ("min_lr", "max_lr", "num_steps", "stop_factor", "output_dir")
# No loop ends early, nothing is validated or compiled, and no schedule is built.
TRAINER: Settings = {"max_epochs": 1_000_000, "max_steps": -1, "max_time": None, "min_epochs": None, "min_steps": None}
TRAINER |= {"fast_dev_run": False, "overfit_batches": 0, "limit_train_batches": None, "limit_val_batches": 0}
TRAINER |= {"val_check_interval": None, "check_val_every_n_epoch": 10**9, "profiler": None, "compile": False}


def find_lr(cfg: DictConfig) -> dict[str, Any]:
    """Find a learning rate, write lr_find.csv and lr_find.png, and print the suggestion.

    Raises:
        ConfigError: If the optimizer of the model has no single learning rate.
        TrainingError: If the losses show no learning rate that trains the model.
    """
    settings = to_plain_dict(cfg)
    planned = copy.deepcopy(settings["trainer"])
    # The batches per step of epoch 0. Where this schedule is on, the trainer's own key is 1.
    if accumulation := find_active(settings, "accumulation"):
        settings["trainer"]["accumulate_grad_batches"] = accumulation["scheduling"].get(0, 1)
    is_unfreezing = find_active(settings, "unfreezing") is not None
    settings |= {"scheduler": None, "callbacks": {}, "logger": None}
    settings["trainer"] |= TRAINER
    model, data, trainer = build(OmegaConf.create(settings))
    print_fields({"model": type(model).__name__, "data": describe_data(data, count_split_sizes(data))})
    print_fields(describe_layers(model))
    if is_unfreezing:
        print_fields({"note": "without callbacks.unfreezing.schedule: all parameters are trained in the test"})
    finder = run_range_test(model, data, trainer, cfg.min_lr, cfg.max_lr, cfg.num_steps, cfg.stop_factor)
    csv_path, plot_path = (Path(cfg.output_dir) / f"lr_find.{suffix}" for suffix in ("csv", "png"))
    steps = zip(*(finder.results[name] for name in ("lr", "raw_loss", "loss")), strict=True)
    write_atomically(csv_path, format_csv([("lr", "loss", "smoothed_loss"), *steps]))
    suggestion = finder.suggestion()
    plot_losses(finder, plot_path)
    key = f"model.{get_lr_attribute(model)}" if has_own_optimizers(model) else "optimizer.lr"
    if suggestion is None:
        raise TrainingError(f"{explain_missing_suggestion(finder, cfg)} The losses are in {csv_path}.")
    command = format_train_command(settings, key, suggestion)
    report_suggestion(finder, key, planned)
    print_fields({"plot": str(plot_path), "next": command})
    return {
        "key": key,
        "suggestion": suggestion,
        "num_steps": len(finder.results["loss"]),
        "csv": str(csv_path),
        "plot": str(plot_path),
        "train_command": command,
    }


def report_suggestion(finder: RatioLRFinder, key: str, planned: Settings) -> None:
    """Print the suggested learning rate, and what limits it.

    Args:
        finder: A finder with a suggestion.
        key: Config key of the learning rate.
        planned: Trainer settings of the training run.
    """
    rates, index = finder.results["lr"], finder._optimal_idx or 0
    stopped = len(rates) < finder.num_training
    reason = f"the loss diverged at {rates[-1]:.3g}" if stopped else "the loss did not diverge"
    lines = {"found": f"{key}={rates[index]:.3g}, where the loss decreases most steeply ({len(rates)} steps; {reason})"}
    if not stopped and index >= len(rates) - finder.num_training // WINDOWS_PER_RANGE:
        lines["note"] = f"the loss still decreases at the end: increase max_lr={finder.lr_max:g}"
    num_devices = planned.get("devices", 1)
    is_counted = isinstance(num_devices, int) and planned.get("accelerator") in ("cpu", "cuda")
    if is_counted and not planned.get("scale_lr"):
        num_devices = count_processes(planned["accelerator"], num_devices, planned.get("num_nodes", 1))
        if num_devices > 1:
            lines["devices"] = (
                f"found on 1 device. For the global batch of {num_devices} devices, try trainer.scale_lr=linear (SGD) "
                "or sqrt (Adam)"
            )
    print_fields(lines)


def explain_missing_suggestion(finder: RatioLRFinder, cfg: DictConfig) -> str:
    """Return why there is no suggestion, and what to change."""
    num_steps = len(finder.results["loss"])
    if num_steps < finder.num_training:
        return (
            f"No suggestion: the loss diverged after {num_steps} of {finder.num_training} steps. Decrease min_lr="
            f"{cfg.min_lr:g}, or increase stop_factor={cfg.stop_factor:g}."
        )
    return (
        f"No suggestion: from {cfg.min_lr:g} to {cfg.max_lr:g}, the loss never decreases by more than its noise. "
        f"Increase num_steps={finder.num_training}, max_lr or data.batch_size."
    )


def format_train_command(settings: Settings, key: str, lr: float) -> str:
    """Return the command that trains with the same overrides and the suggested learning rate.

    Args:
        settings: Config of this command.
        key: Config key of the learning rate.
        lr: The learning rate; the command states it with 3 digits.
    """
    group, _, name = key.partition(".")
    given = [(override.lstrip("+~").partition("=")[0], override) for override in list_overrides()]
    kept = [override for found, override in given if found not in (*OWN_KEYS, key)]
    node: Any = settings[group] or {}
    if group == "model" and name not in node and name not in read_signature(node["_target_"]).parameters:
        return f"set `{name}` in {node['_target_']} to {lr:.3g}"
    is_new = name not in node or any(override.startswith(f"+{key}=") for _, override in given)
    return format_command("make", "train", *kept, f"{'+' if is_new else ''}{key}={lr:.3g}")


def plot_losses(finder: RatioLRFinder, path: Path) -> None:
    """Plot the smoothed loss over the learning rate, and mark the suggestion.

    Args:
        finder: The finder, after `suggestion`.
        path: PNG file to write.
    """
    rates, losses = finder.results["lr"], finder.results["loss"]
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, finder.results["raw_loss"], color="tab:blue", alpha=0.3, label="loss")
    axes.plot(rates, losses, color="tab:blue", label="smoothed loss")
    if finder._optimal_idx is not None:
        lr, loss = rates[finder._optimal_idx], losses[finder._optimal_idx]
        axes.plot([lr], [loss], "o", color="tab:red", label=f"suggestion: {lr:.3g}")
    axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    # The last raw losses may be far above the others.
    finite = [loss for loss in losses if math.isfinite(loss)]
    if (margin := 0.3 * (max(finite) - min(finite))) > 0:
        axes.set_ylim(min(finite) - margin, max(finite) + margin)
    axes.grid(alpha=0.3)
    write_figure(path, figure)
