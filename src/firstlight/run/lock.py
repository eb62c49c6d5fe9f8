"""A run's folder belongs to one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

# The loader processes of a killed run see its end, and let go, after five seconds.
WORKER_EXIT_TIMEOUT_S = 8


@contextmanager
def acquire_run_lock(folder: Path, patience_s: float = 0) -> Iterator[None]:
    """Keep a run's folder for this process; the system gives it back however that ends.

    Args:
        folder: the run's.
        patience_s: how long to wait for the end of a process that has it.

    Raises:
        ValueError: another process has it.
    """
    lock = FileLock(folder / ".lock", timeout=patience_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{folder} is in use by another process that trains there: wait for its end, or stop it"
        ) from error
    except NotImplementedError:
        print(f"The file system of {folder} has no locks: see that no second process trains there", flush=True)
    try:
        yield
    finally:
        lock.release()


def is_unlocked(folder: Path, patience_s: float = 0) -> bool:
    """Say whether no process trains in a folder.

    Args:
        folder: the run's.
        patience_s: how long to wait for the end of a process that has it.
    """
    with suppress(ValueError), acquire_run_lock(folder, patience_s):
        return True
    return False
