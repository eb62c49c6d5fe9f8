"""DataLoader of training batches that can start inside an epoch, and its worker processes."""

import atexit
import functools
import multiprocessing
import signal
import sys
from collections.abc import Callable
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from firstlight.hardware.device import count_available_cpus
from firstlight.run.signals import STOP_SIGNALS


@functools.cache
def make_resumable_class(loader_class: Any) -> Any:
    """Return a subclass of a DataLoader class that can start inside an epoch.

    The sampler of its instances is a `ResumableSampler`. It has one base class only, so that it can also become the
    class of an existing loader.
    """

    class Resumable(loader_class):  # type: ignore[misc]
        # Returns the epoch and its first remaining batch. If None, the position of the sampler does not change.
        resume_position: Callable[[], tuple[int, int]] | None = None

        def __iter__(self) -> Any:
            # A generator runs when the first batch is requested: Lightning creates iterators before it restores its
            # loops.
            if self.resume_position is not None:
                self.sampler.set_position(*self.resume_position())
            for name in ("set_epoch", "start_epoch"):
                if hasattr(self.dataset, name):
                    getattr(self.dataset, name)(self.sampler.epoch)
            yield from super().__iter__()

        def state_dict(self) -> dict[str, Any]:
            """Return an empty state: the checkpoint stores the progress. Lightning warns if this method is missing."""
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Do nothing: `resume_position` provides the progress."""

    return Resumable


ResumableDataLoader = make_resumable_class(DataLoader)


def get_resume_position(trainer: Any) -> tuple[int, int]:
    """Return the current epoch of a training run, and the number of its completed batches.

    An evaluation starts at the first batch: its dataloader hook may call `train_dataloader`.
    """
    loop = trainer.fit_loop
    completed = loop.epoch_loop.batch_progress.current.processed if trainer.training else 0
    return loop.epoch_progress.current.processed, completed


def init_worker(worker_id: int) -> None:
    """Seed a DataLoader worker, and ignore the signals that stop a run."""
    pl_worker_init_function(worker_id)
    # A terminal and Slurm signal every process of a run. Workers must survive to deliver the remaining batches.
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)


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
    return min(count_available_cpus(), 4 if sys.platform == "darwin" else 16)
