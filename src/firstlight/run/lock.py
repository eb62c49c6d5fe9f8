"""A lock that allows one process at a time to use a run directory."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from firstlight.run.errors import CheckpointError, RunInUseError
from firstlight.run.progress import show_progress

# Answers of file systems without locks, mostly network drives. For ENOSYS, filelock uses a lock without flock, or in
# older versions raises NotImplementedError.
NO_LOCK_ERRNOS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
# DataLoader workers of a killed run keep the lock until they notice its end, which takes up to five seconds.
WORKER_EXIT_TIMEOUT_S = 8


@contextmanager
def acquire_run_lock(run_dir: Path, timeout_s: float = 0, requires_lock: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a run directory; the OS releases it however the process ends.

    Args:
        run_dir: The run directory.
        timeout_s: Seconds to wait for another process to release the lock.
        requires_lock: On a file system without locks, raise the error instead of a warning.

    Raises:
        RunInUseError: If another process holds the lock.
        OSError, NotImplementedError: If `requires_lock` is set, and the file system has no locks.
    """
    lock = FileLock(run_dir / ".lock", timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunInUseError(
            f"{run_dir} is locked by another process. Wait for the process to finish, or stop it."
        ) from error
    except (NotImplementedError, OSError) as error:
        if requires_lock or (isinstance(error, OSError) and error.errno not in NO_LOCK_ERRNOS):
            raise
        print(
            f"Warning: the file system of {run_dir} does not support locks. Make sure that no other process uses this "
            "directory.",
            flush=True,
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, after waiting for other processes that hold it, so that they do not do the same work.

    If there can be no lock file, the context is entered without a lock: what it writes must be atomic.

    Args:
        path: The lock file; its directory is created.
    """
    lock = FileLock(path)
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with show_progress("Waiting for another process that prepares the same data"):
            lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            # Before the release. A process that waits for the deleted file finds the result.
            path.unlink(missing_ok=True)
            lock.release()


def is_unlocked(run_dir: Path, timeout_s: float = 0) -> bool:
    """Return True if no process uses a run directory.

    Args:
        run_dir: The run directory.
        timeout_s: Seconds to wait for another process to release the lock.
    """
    with suppress(CheckpointError), acquire_run_lock(run_dir, timeout_s):
        return True
    return False
