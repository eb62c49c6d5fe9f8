"""The valid range of each number in a config, and where a number may be left open."""

from math import inf
from typing import Any

from firstlight.config.options import AUTO
from firstlight.run.errors import ConfigError, MissingPackageError, invalid_value, missing_package
from firstlight.run.packages import is_installed

# These commands only evaluate a model: nothing is augmented or optimized.
EVALUATION_COMMANDS = ("evaluate", "predict", "export", "demo")
# By the name of the key, whichever object has it, or by its path.
VALID_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("label_smoothing", "dropout", "random_erasing", "warmup_fraction", "pct_start"), (0, 1)),
    **dict.fromkeys(
        ("lr", "weight_decay", "gradient_clip_val", "overfit_batches", "max_skipped_samples", "every_n_minutes"),
        (0, inf),
    ),
    **dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), (0, inf)),
    **dict.fromkeys(("num_samples", "num_words", "batch_size", "pad_to_multiple_of", "spike_factor"), (1, 10**9)),
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"), (1, 10**9)),
    # Keys of training switches.
    "callbacks.ema.decay": (0, 1),
    "model.lora_rank": (1, 10_000),
    "model.lora_alpha": (0, inf),
    "model.lora_dropout": (0, 1),
    "callbacks.early_stopping.patience": (1, inf),
    **dict.fromkeys(("callbacks.early_stopping.min_delta", "callbacks.ema.update_starting_at_step"), (0, inf)),
    "callbacks.ema.update_every_n_steps": (1, inf),
    **dict.fromkeys(("log_freq", "every_n_epochs", "every_n_train_steps"), (1, 10**9)),
    **dict.fromkeys(("max_epochs", "max_steps"), (-1, inf)),
    "seed": (0, 2**32 - 1),
    "num_classes": (2, 100_000),
    "image_size": (1, 10_000),
    **dict.fromkeys(("mixup_alpha", "cutmix_alpha"), (0, 1000)),
    "rand_augment": (0, 30),  # torchvision has 31 magnitudes
    "max_length": (3, 100_000),
    # Each worker is a process and each thread a kernel thread.
    **dict.fromkeys(("num_workers", "num_threads"), (0, 1000)),
    "num_nodes": (1, 10_000),
    "compile_min_steps": (0, 10**9),
    # Launcher and sweeper settings.
    **dict.fromkeys(("n_jobs", "max_parallel_jobs", "nodes", "tasks_per_node", "cpus_per_task"), (1, 10_000)),
    **dict.fromkeys(("timeout_min", "mem_gb", "mac_memory_gb", "n_trials"), (1, 10**6)),
    **dict.fromkeys(("gpus_per_node", "signal_delay_s", "max_requeues"), (0, 10**6)),
}


def validate_range(path: str, value: Any) -> None:
    """Check that a number is finite, fits into 64 bits, and lies in the range of its key.

    Raises:
        ConfigError: If it does not.
    """
    minimum, maximum = VALID_RANGES.get(path, VALID_RANGES.get(path.rpartition(".")[2], (-inf, inf)))
    is_number = isinstance(value, int | float)
    if is_number and not abs(value) < 2**63:
        raise ConfigError(invalid_value(path, value, "a finite number that fits into 64 bits"))
    if is_number and not minimum <= value <= maximum:
        valid = f"of at least {minimum:,}" if maximum == inf else f"between {minimum:,} and {maximum:,}"
        raise ConfigError(invalid_value(path, value, f"a value {valid}"))


def validate_batch_size(settings: dict[str, Any]) -> None:
    """Check that only a new training run, `make tune` or `make prepare` has to find its batch size.

    Raises:
        ConfigError: If another command would have to.
    """
    is_auto = (settings["data"] or {}).get("batch_size") == AUTO
    if is_auto and (settings["command"] not in ("train", "tune", "prepare") or settings.get("resume")):
        fix = "Set a number, e.g. data.batch_size=32."
        raise ConfigError(f"data.batch_size=auto is only possible for a new training run. {fix}")


def validate_optimizer_keys(optimizer: dict[str, Any], command: str) -> None:
    """Check the keys of an optimizer that define its parameter groups.

    Args:
        optimizer: `_target_` and arguments of the optimizer.
        command: The command. Those that only evaluate a model build no optimizer, and do not need timm.

    Raises:
        ConfigError: If a value has another type or has no effect.
        MissingPackageError: If `layer_decay` is set, but timm is not installed.
    """
    decay, patterns = optimizer.get("layer_decay"), optimizer.get("no_weight_decay")
    is_number = isinstance(decay, int | float) and not isinstance(decay, bool)
    if decay is not None and not (is_number and 0 < decay < 1):
        expected = "null or a number greater than 0 and less than 1"
        raise ConfigError(
            invalid_value("optimizer.layer_decay", decay, expected, "Use e.g. optimizer.layer_decay=0.75.")
        )
    if patterns is not None and not (isinstance(patterns, list) and all(isinstance(name, str) for name in patterns)):
        fix = "Use e.g. 'optimizer.no_weight_decay=[*embeddings*]'."
        raise ConfigError(invalid_value("optimizer.no_weight_decay", patterns, "a list of patterns", fix))
    if decay is not None and command not in EVALUATION_COMMANDS and not is_installed("timm"):
        raise MissingPackageError(missing_package(f"optimizer.layer_decay={decay}", "timm"))
