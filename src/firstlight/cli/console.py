"""Console output of commands: fields, tables, and no library warnings that users cannot act on."""

import contextlib
import os
import sys
import warnings
from typing import Any

# Library warnings that users cannot act on.
IGNORED_WARNINGS = (
    ".*isinstance\\(treespec, LeafSpec\\)",  # lightning 2.6 with torch 2.13 and newer
    "Found .* module\\(s\\) in eval mode",  # frozen layers
    ".*does not have many workers",  # data in memory needs none
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",  # a resumed run
    "Precision .* is not supported by the model summary",  # it estimates a size that is not shown
    "The dirpath has changed",  # a moved run
    "Experiment logs directory .* exists and is not empty",
    "You called `self.log\\('.*`, but have no logger configured",
    ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`",  # a skipped first step of 16-mixed
    "You passed in a `val_dataloader` but have no `validation_step`",  # the run header says so
    ".*set_vital is deprecated",
    "Glyph .* missing from font",  # class names in scripts that matplotlib's font lacks
    "IProgress not found",  # in a notebook, about a progress bar that is not used
    "GPU available but not used",  # with trainer=cpu
    "It is recommended to use `self.log\\(",  # all ranks log the same value
    "torch.distributed is disabled, unavailable or uninitialized",  # a sharded checkpoint loaded by one process
    "The `srun` command is available on your system but is not used",
    ".*mps.* does not have a deterministic implementation",  # trainer=mps allows them; `make preflight` names them
)


def print_table(table: Any) -> None:
    """Print a rich table in the width of the terminal, or 200 columns wide to a file."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def suppress_library_noise() -> None:
    """Ignore library warnings and set quiet defaults for libraries."""
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    # Idle OpenMP threads spin briefly instead of for libgomp's long default, which doubled the CPU time of a training
    # run on a busy machine (362 instead of 170 s). On an idle machine, the short spin costs 0 to 10 %.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(AttributeError, ValueError):
        # A file name that is not UTF-8 is printed with escaped bytes.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def print_fields(lines: dict[str, str]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name in lines), default=0)
    for name, text in lines.items():
        print(f"{name:<{max(width, 8)}}  {text}", flush=True)
