"""Stop a job of a sweep when the process of the sweep has ended: it would hold its memory and GPU forever."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

# Process ID of the sweep, for a job that is a command of its own.
SWEEP_PID_VARIABLE = "FIRSTLIGHT_SWEEP_PID"
POLL_INTERVAL_S = 1.0
# A running job has this time to save a checkpoint.
SAVE_TIMEOUT_S = 60.0

# Set while this process runs no job.
is_idle = threading.Event()


# A signal at the end of the parent (prctl on Linux) is sent at the end of the thread that started this process, and
# macOS has no such signal.
def stop_with_process(pid: int) -> None:
    """Stop this process once another process has ended: first with SIGTERM, then at once.

    Args:
        pid: The other process, which may be the parent of this one.
    """
    is_parent = os.getppid() == pid

    def watch() -> None:
        while os.getppid() == pid if is_parent else is_alive(pid):
            time.sleep(POLL_INTERVAL_S)
        if not is_idle.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        is_idle.wait(SAVE_TIMEOUT_S)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="sweep-watch").start()


def stop_with_sweep_of_environment() -> None:
    """Stop this command once the sweep that started it has ended, if a sweep started it."""
    # Not inherited by the processes that this command starts.
    if pid := os.environ.pop(SWEEP_PID_VARIABLE, ""):
        stop_with_process(int(pid))


def is_alive(pid: int) -> bool:
    """Return True if a process runs. One that has ended exists until its parent asks for its exit code."""
    with suppress(OSError):
        # On Linux: the process ID, the name in parentheses, and the state.
        if Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z":
            return False
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
