"""Statuses of runs and jobs that run.json does not contain: not started, and killed."""

import os
from pathlib import Path

from firstlight.run.errors import RunInUseError
from firstlight.run.files import read_json_or_empty
from firstlight.run.lock import acquire_run_lock

# Status of a job without a run.json, and of a run that is marked as running although its process is gone.
NOT_STARTED, KILLED = "not started", "killed"
KILLED_REASON = "process killed, for example because memory ran out"


def is_abandoned(run_dir: Path) -> bool:
    """Return True if no process holds the lock of a run that run.json records as running."""
    lock_path = run_dir / ".lock"
    try:
        # A lock that is missing or a link is not created or followed: the run may come from someone else.
        if not os.path.lexists(lock_path):
            return True
        if lock_path.is_symlink():
            return False
        with acquire_run_lock(run_dir, requires_lock=True):
            # The run may have ended after its run.json was read.
            return read_json_or_empty(run_dir / "run.json").get("status") == "running"
    except (RunInUseError, OSError, NotImplementedError):  # also a directory of another user, or no locks
        return False
