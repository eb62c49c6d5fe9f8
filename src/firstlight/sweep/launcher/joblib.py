"""Several trainings at once on one machine, each in a process of its own."""

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

from firstlight.sweep.launcher.worker import make_empty_result, run_on_assigned_gpu, setup_worker_process

# Said by a process that was asked to end: it starts no further job.
stop_requested: list[int] = []


class ResumableJoblibLauncher(JoblibLauncher):
    """Hydra's launcher by joblib, which ends as a single training does."""

    package = "hydra-joblib-launcher"
    extra = "launchers"

    def __init__(self, n_jobs: int = 2) -> None:
        """Keep the number of processes; joblib gives each its share of the cores."""
        super().__init__(n_jobs=n_jobs)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what to run, each process on a GPU of its own as far as there are enough."""
        job = functools.partial(run_in_worker, task_function, list_visible_gpus())
        super().setup(hydra_context=hydra_context, task_function=job, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return their results; on Ctrl-C those that run save first.

        Raises:
            KeyboardInterrupt: once they have.
        """
        asked: list[int] = []

        def wait(number: int, frame: FrameType | None) -> None:
            # The terminal has told the processes, too: joblib would kill them while they save.
            if asked:
                raise KeyboardInterrupt
            asked.append(number)

        before = signal.signal(signal.SIGINT, wait)
        try:
            returns = super().launch(job_overrides, initial_job_idx)
        except TerminatedWorkerError:
            print("a process of the sweep was killed (out of memory?); those beside it were ended", flush=True)
            returns = [make_empty_result() for _ in job_overrides]
        finally:
            signal.signal(signal.SIGINT, before)
        if asked:
            raise KeyboardInterrupt
        return returns


def run_in_worker(task: Callable[[DictConfig], Any], gpus: list[str], cfg: DictConfig) -> Any:
    """Run a job in one of joblib's processes; asked to end, it ends the job, and starts no other."""
    if stop_requested:
        return None
    setup_worker_process()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run_on_assigned_gpu(task, gpus, get_worker_index(), cfg)
    except (KeyboardInterrupt, SystemExit):
        stop_requested.append(1)
        return None


def get_worker_index() -> int:
    """Return the number of this process among joblib's, from 0."""
    found = re.search(r"\d+$", multiprocessing.current_process().name)
    return int(found.group()) - 1 if found else 0


def list_visible_gpus() -> list[str]:
    """Return the names of NVIDIA's GPUs that may be used; torch is not asked, since it would then hold them."""
    if chosen := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return chosen.split(",")
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
