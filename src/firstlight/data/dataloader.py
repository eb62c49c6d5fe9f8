"""DataLoader of training batches that can start inside an epoch, and its worker processes."""

import atexit
import functools
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from firstlight.data.wait import report_long_waits
from firstlight.hardware.device import count_available_cpus
from firstlight.run.errors import ConfigError, HardwareError
from firstlight.run.signals import STOP_SIGNALS

# Open files of a training process, and of a worker: four batches of up to six tensors, and its pipes.
BASE_FILES, FILES_PER_WORKER = 64, 32


@functools.cache
def make_resumable_class(loader_class: Any) -> Any:
    """Return a subclass of a DataLoader class that can start inside an epoch.

    The sampler of its instances is a `ResumableSampler`. It has one base class only, so that it can also become the
    class of an existing loader.
    """

    class Resumable(loader_class):  # type: ignore[misc]
        # Epoch in which the training loop has already iterated over this loader.
        iterated_epoch: int | None = None
        # Returns the epoch and its first remaining batch. If None, the position of the sampler does not change.
        resume_position: Callable[[], tuple[int, int | None]] | None = None

        def __iter__(self) -> Any:
            # A generator runs when the first batch is requested: Lightning creates iterators before it restores its
            # loops.
            if self.resume_position is not None:
                self.sampler.set_position(*self._find_position(*self.resume_position()))
            for name in ("set_epoch", "start_epoch"):
                if hasattr(self.dataset, name):
                    getattr(self.dataset, name)(self.sampler.epoch)
            yield from (report_long_waits if self.num_workers else iter)(super().__iter__())

        def _find_position(self, epoch: int, completed: int | None) -> tuple[int, int]:
            """Return the position of an iteration. Only the first one of the training loop in an epoch resumes."""
            if completed is None or self.iterated_epoch == epoch:
                return epoch, 0
            self.iterated_epoch = epoch
            # With several loaders, a shorter one starts again and again.
            return epoch, completed % len(self) if completed > len(self) else completed

        def state_dict(self) -> dict[str, Any]:
            """Return an empty state: the checkpoint stores the progress. Lightning warns if this method is missing."""
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Do nothing: `resume_position` provides the progress."""

    return Resumable


ResumableDataLoader = make_resumable_class(DataLoader)


def get_resume_position(trainer: Any) -> tuple[int, int | None]:
    """Return the current epoch of a training run, and the number of its completed batches.

    The number is None if the training loop does not iterate itself: in an evaluation, whose dataloader hook may
    call `train_dataloader`, and in a hook of the module or a callback that iterates over the loader.
    """
    loop = trainer.fit_loop
    epoch = loop.epoch_progress.current.processed
    if not trainer.training or getattr(trainer.lightning_module, "_current_fx_name", None) is not None:
        return epoch, None
    return epoch, loop.epoch_loop.batch_progress.current.processed


def prepare_workers(num_workers: int, dataset: Any) -> None:
    """Check that DataLoader workers can start, and prepare the server that forks them, if there is one.

    Raises:
        ConfigError: If the script that starts them has no guard.
    """
    validate_main_script(num_workers)
    if num_workers and multiprocessing.get_start_method() == "forkserver":
        start_worker_server(type(dataset).__module__)


def start_worker_server(dataset_module: str) -> None:
    """Start the process that forks DataLoader workers, with torch and the module of the dataset imported.

    Linux uses such a server from Python 3.14 on. By default, it imports only the main script, and each worker of each
    loader would import torch again.
    """
    multiprocessing.set_forkserver_preload([__name__, dataset_module])
    resource_tracker.ensure_running()  # would unblock signals below
    # The server inherits the blocked signals. A terminal and Slurm stop every process of a run, but it must not end
    # before its workers.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def init_worker(worker_id: int) -> None:
    """Seed a DataLoader worker, ignore the signals that stop a run, and end the worker with the run."""
    pl_worker_init_function(worker_id)
    exit_with_main_process()
    # A terminal and Slurm signal every process of a run. Workers must survive to deliver the remaining batches.
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)


def exit_with_main_process() -> None:
    """End this worker once the process that uses it has ended, if another process has forked the worker.

    torch ends a worker whose parent has ended. The parent may be the server that forks workers, which in turn lives as
    long as its workers.
    """
    main = multiprocessing.parent_process()
    if main is None or main.pid == os.getppid():
        return

    def wait_and_exit() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=wait_and_exit, daemon=True, name="main-process-watch").start()


@atexit.register
def kill_leftover_workers() -> None:
    """Kill the workers that an error has left: they ignore the SIGTERM with which Python would end them."""
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    if workers:
        # torch's handler would report their end as an error.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()


def get_default_num_workers() -> int:
    """Return the number of DataLoader workers for this machine."""
    # macOS starts each worker as a new interpreter that imports torch again, which takes seconds and memory.
    by_platform = min(count_available_cpus(), 4 if sys.platform == "darwin" else 16)
    return max(min(by_platform, (get_open_file_limit() - BASE_FILES) // FILES_PER_WORKER), 1)


def validate_num_workers(num_workers: int | None) -> None:
    """Check that this process may open the files that DataLoader workers need.

    Raises:
        HardwareError: If it may not. Otherwise, workers would print tracebacks and stop.
    """
    needed = BASE_FILES + FILES_PER_WORKER * (num_workers or 0)
    if num_workers and needed > get_open_file_limit():
        raise HardwareError(
            f"data.num_workers={num_workers} needs about {needed} open files, but this process may open "
            f"{get_open_file_limit()}. Raise the limit with `ulimit -n 4096`, or use data.num_workers=0."
        )


def validate_main_script(num_workers: int) -> None:
    """Check that DataLoader workers can import the script that starts them.

    With every start method except fork, each worker imports the script, and would run it again. macOS uses spawn, and
    Linux uses forkserver from Python 3.14 on.

    Raises:
        ConfigError: If the script has no guard against this.
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    is_forked = multiprocessing.get_start_method() == "fork"
    if not num_workers or is_forked or file is None or not Path(file).is_file():
        return
    if "__main__" not in Path(file).read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"DataLoader workers import {file}, and would run it again. Put its code under "
            "`if __name__ == '__main__':`, or use data.num_workers=0."
        )


def get_open_file_limit() -> int:
    """Return how many files this process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
