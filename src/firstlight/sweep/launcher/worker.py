"""A process that a launcher has started to run a job of a sweep."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from firstlight.cli.command import handle_stop_signal
from firstlight.cli.console import suppress_library_noise


def setup_worker_process() -> None:
    """Make this process what a command's own one is: quiet, and ended by SIGTERM by way of every `finally`."""
    suppress_library_noise()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, functools.partial(handle_stop_signal, []))


def run_on_assigned_gpu(task: Callable[[DictConfig], Any], gpus: list[str], number: int, cfg: DictConfig) -> Any:
    """Run a task on one of several GPUs, if torch has not chosen yet.

    Args:
        task: what to run.
        gpus: their names; empty leaves the choice to torch.
        number: of this process.
        cfg: the task's configuration.
    """
    if gpus and "torch" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return task(cfg)


def make_empty_result() -> JobReturn:
    """Return the result of a job that gave none: its run.json tells why."""
    result = JobReturn()
    result.status = JobStatus.COMPLETED
    result.return_value = None
    return result
