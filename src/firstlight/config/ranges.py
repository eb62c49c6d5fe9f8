"""The least and the largest sensible value of each number that can be set."""

from math import inf
from typing import Any

# By the name of the setting, whichever object has it.
VALID_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("label_smoothing", "dropout", "warmup_fraction", "pct_start"), (0, 1)),
    **dict.fromkeys(
        ("lr", "weight_decay", "gradient_clip_val", "overfit_batches", "max_skipped_samples", "every_n_minutes"),
        (0, inf),
    ),
    **dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), (0, inf)),
    **dict.fromkeys(("num_samples", "num_words", "batch_size", "pad_to_multiple_of", "spike_factor"), (1, 10**9)),
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"), (1, 10**9)),
    **dict.fromkeys(("log_freq", "every_n_epochs", "every_n_train_steps"), (1, 10**9)),
    **dict.fromkeys(("max_epochs", "max_steps"), (-1, inf)),
    "seed": (0, 2**32 - 1),
    "num_classes": (2, 100_000),
    "image_size": (1, 10_000),
    "max_length": (3, 100_000),
    # Each is a process or a thread of its own.
    **dict.fromkeys(("num_workers", "num_threads"), (0, 1000)),
    "num_nodes": (1, 10_000),
    "compile_min_steps": (0, 10**9),
    # Of a sweep's launcher and its search.
    **dict.fromkeys(("n_jobs", "max_parallel_jobs", "nodes", "tasks_per_node", "cpus_per_task"), (1, 10_000)),
    **dict.fromkeys(("timeout_min", "mem_gb", "mac_memory_gb", "n_trials"), (1, 10**6)),
    **dict.fromkeys(("gpus_per_node", "signal_delay_s", "max_requeues"), (0, 10**6)),
}


def validate_range(path: str, value: Any) -> None:
    """Refuse NaN, what no 64 bits hold, and what lies outside the limits of its name."""
    least, most = VALID_RANGES.get(path.rpartition(".")[2], (-inf, inf))
    is_number = isinstance(value, int | float)
    if is_number and not abs(value) < 2**63:
        raise ValueError(f"{path} is a number that fits into 64 bits, but {path}={value}: give a smaller one")
    if is_number and not least <= value <= most:
        allowed = f"{least:,} or more" if most == inf else f"{least:,} to {most:,}"
        raise ValueError(f"{path} is {allowed}, but {path}={value}: give a value in that range")
