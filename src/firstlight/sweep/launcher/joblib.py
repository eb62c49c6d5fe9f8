"""Joblib launcher: several training jobs in parallel on one machine, each in its own process."""

import functools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import DictConfig

from firstlight.run import parent
from firstlight.sweep.launcher.worker import make_empty_result, run_on_assigned_gpu, setup_worker_process

# Not empty once this process was asked to stop; it then starts no further jobs.
stop_requested: list[int] = []


class ResumableJoblibLauncher(JoblibLauncher):
    """Hydra's joblib launcher, whose jobs save a checkpoint when they are stopped, like a single training run.

    Args:
        n_jobs: Number of parallel processes. joblib divides the CPU cores among them.
    """

    package = "hydra-joblib-launcher"
    extra = "launchers"

    def __init__(self, n_jobs: int = 2) -> None:
        super().__init__(n_jobs=n_jobs)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the task; the processes are assigned to the visible GPUs round-robin."""
        job = functools.partial(run_in_worker, task_function, list_visible_gpus(), os.getpid())
        super().setup(hydra_context=hydra_context, task_function=job, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return their results. On Ctrl-C, running jobs save a checkpoint first.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed, after the running jobs have saved.
        """
        interrupts: list[int] = []

        def handle_sigint(number: int, frame: FrameType | None) -> None:
            # The terminal signals the processes too. Raising at once would let joblib kill them while they save.
            if interrupts:
                raise KeyboardInterrupt
            interrupts.append(number)

        previous = signal.signal(signal.SIGINT, handle_sigint)
        try:
            results = super().launch(job_overrides, initial_job_idx)
        except TerminatedWorkerError:
            print(
                "A sweep process was killed, probably because the machine ran out of memory. The other "
                "processes were stopped. Decrease launcher.n_jobs.",
                flush=True,
            )
            results = [make_empty_result() for _ in job_overrides]
        finally:
            signal.signal(signal.SIGINT, previous)
        if interrupts:
            raise KeyboardInterrupt
        return results


def run_in_worker(task: Callable[[DictConfig], Any], gpus: list[str], sweep_pid: int, cfg: DictConfig) -> Any:
    """Run a job in a joblib process. A stop request ends the job, and later jobs are skipped.

    Args:
        task: The task to run.
        gpus: IDs of the GPUs.
        sweep_pid: Process ID of the sweep; this process stops when the sweep has ended.
        cfg: Config of the task.
    """
    if stop_requested:
        return None
    setup_worker_process(sweep_pid)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run_on_assigned_gpu(task, gpus, get_worker_index(), cfg)
    except (KeyboardInterrupt, SystemExit):
        stop_requested.append(1)
        return None
    finally:
        parent.is_idle.set()


def get_worker_index() -> int:
    """Return the index of this process among the joblib processes, starting at 0."""
    match = re.search(r"\d+$", multiprocessing.current_process().name)
    return int(match.group()) - 1 if match else 0


def list_visible_gpus() -> list[str]:
    """Return the IDs of the visible NVIDIA GPUs. torch is not used, because it would occupy the GPUs."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    if shutil.which("nvidia-smi") is None:
        return []
    output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(index) for index, line in enumerate(output.splitlines()) if line.startswith("GPU ")]
