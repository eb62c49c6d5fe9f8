"""What commands print: names and values in two columns, tables, and no noise of libraries."""

import contextlib
import os
import sys
import warnings
from typing import Any

# Warnings that nobody who trains can act on, each of a library about itself.
IGNORED_WARNINGS = (
    ".*isinstance\\(treespec, LeafSpec\\)",  # lightning 2.6 with torch 2.13 and newer
    "Found .* module\\(s\\) in eval mode",  # frozen layers
    ".*does not have many workers",  # data in memory needs none
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "Precision .* is not supported by the model summary",  # which estimates a size that nobody asked for
    "The dirpath has changed",  # a run that was moved
    "Experiment logs directory .* exists and is not empty",
    "You called `self.log\\('.*`, but have no logger configured",
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`",  # a skipped first step of 16-mixed
    ".*set_vital is deprecated",
    "IProgress not found",  # in a notebook, of a bar that is never shown
    "GPU available but not used",  # trainer=cpu was typed
    "It is recommended to use `self.log\\(",  # on several devices all log the same
    "torch.distributed is disabled, unavailable or uninitialized",  # a checkpoint in parts, read by one process
    "The `srun` command is available on your system but is not used",
    ".*mps.* does not have a deterministic implementation",  # trainer=mps allows them; `make preflight` names them
)


def print_table(table: Any) -> None:
    """Print a table of rich: as wide as the terminal, and wide in a log file, which has no width."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def suppress_library_noise() -> None:
    """Silence what a library says about itself."""
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    # Threads that wait for work spin for a moment, not for long as is libgomp's default: on a busy machine that doubled
    # the CPU seconds of a training run (362 instead of 170); on an idle one the short spin costs 0 to 10 %.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def print_fields(lines: dict[str, str]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name in lines), default=0)
    for name, text in lines.items():
        print(f"{name:<{max(width, 8)}}  {text}", flush=True)
