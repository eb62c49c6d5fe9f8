"""The message about a DataLoader worker that died or hangs."""

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from firstlight.run.failure import describe_worker_error


class FailingDataset(Dataset):
    """Dataset that calls a function, such as one that ends the process, when a sample is read."""

    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.fail()
        return torch.zeros(1)


@pytest.fixture(autouse=True)
def restore_worker_signal_handler(monkeypatch):
    """Let torch install its SIGCHLD handler again, because a Trainer in the same process resets signal handlers."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "A DataLoader worker was killed, probably because the machine ran out of memory. ",
        ),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "ran out of shared memory. Reduce data.num_workers"),
        (
            lambda: os.kill(os.getpid(), signal.SIGSEGV),
            "terminated by signal Segmentation fault. Run with data.num_workers=0",
        ),
        (lambda: os._exit(1), "exited unexpectedly. Run with data.num_workers=0"),
        (lambda: time.sleep(60), "produced no batch for 1 s. Check that the file system of the data responds"),
    ],
)
def test_worker_failure_is_explained(fail, message):
    with pytest.raises(RuntimeError) as caught:
        # With a server that forks workers, torch cannot know by which signal one has ended.
        list(DataLoader(FailingDataset(fail), num_workers=1, timeout=1, multiprocessing_context="fork"))

    assert describe_worker_error(caught.value) is not None
    assert message in describe_worker_error(caught.value)
    assert len(str(describe_worker_error(caught.value)).splitlines()) == 1


def test_other_errors_are_not_worker_failures():
    assert describe_worker_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert describe_worker_error(ValueError("Caught ValueError in DataLoader worker process 0.\nValueError: x")) is None
