"""The process that a launcher starts to run a job of a sweep."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from firstlight.cli.console import suppress_library_noise
from firstlight.run import parent
from firstlight.run.signals import handle_stop_signal

# The sweep that this process watches; a joblib process runs several jobs.
watched_sweeps: set[int] = set()


def setup_worker_process(sweep_pid: int | None) -> None:
    """Set up this process like a command does: suppress library noise, and run every `finally` on SIGTERM.

    Args:
        sweep_pid: Process ID of the sweep; this process stops when the sweep has ended. If None, it does not.
    """
    suppress_library_noise()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handle_stop_signal)
    parent.is_idle.clear()
    if sweep_pid is not None and sweep_pid not in watched_sweeps:
        watched_sweeps.add(sweep_pid)
        parent.stop_with_process(sweep_pid)


def run_on_assigned_gpu(task: Callable[[DictConfig], Any], gpus: list[str], index: int, cfg: DictConfig) -> Any:
    """Run a task on one of several GPUs, unless torch is already imported and may have selected one.

    Args:
        task: The task to run.
        gpus: IDs of the GPUs; if empty, torch selects the GPU.
        index: Index of this process; the GPUs are assigned round-robin.
        cfg: Config of the task.
    """
    if gpus and "torch" not in sys.modules:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return task(cfg)


def make_empty_result() -> JobReturn:
    """Return the result of a job that returned none; its run.json contains the reason."""
    result = JobReturn()
    result.status = JobStatus.COMPLETED
    result.return_value = None
    return result
