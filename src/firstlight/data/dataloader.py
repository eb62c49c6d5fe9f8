"""The loader of training batches, and the processes that read for it."""

import atexit
import multiprocessing
import signal
import sys
from collections.abc import Callable
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader

from firstlight.data.sampler import ResumableSampler
from firstlight.hardware.device import count_available_cpus
from firstlight.run.signals import STOP_SIGNALS


class ResumableDataLoader(DataLoader[Any]):
    """A DataLoader that can start in the middle of an epoch: its sampler is an `Order`."""

    sampler: ResumableSampler
    # Returns the epoch and its first batch that is still to be read; None leaves the sampler as it is.
    resume_position: Callable[[], tuple[int, int]] | None = None

    def __iter__(self) -> Any:
        # As a generator, when the first batch is asked for: Lightning makes iterators before it knows where it is.
        if self.resume_position is not None:
            self.sampler.set_position(*self.resume_position())
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.sampler.epoch)
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: how far the training came, its checkpoint knows. Lightning asks, and then does not warn."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: the sampler starts where the training is."""


def init_worker(number: int) -> None:
    """Seed a worker process, and let it outlive a signal that is meant for its training."""
    pl_worker_init_function(number)
    # A terminal and Slurm signal all processes of a run, and the training still wants its batches.
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


@atexit.register
def kill_leftover_workers() -> None:
    """End the worker processes that an error has left: they do not heed the SIGTERM by which Python would end them."""
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would call their end an error
    for child in left:
        child.kill()


def get_default_num_workers() -> int:
    """Return the number of loader processes for this machine."""
    # macOS starts each worker as a fresh interpreter that imports torch again: seconds and memory apiece.
    return min(count_available_cpus(), 4 if sys.platform == "darwin" else 16)
