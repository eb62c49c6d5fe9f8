"""Show that long work continues: a live line on a terminal, a line every ten seconds in a log.

    python scripts/progress.py setup pip install -r base.lock     run a command, show its last line instead of all
    python scripts/progress.py --output check mypy                run a command whose output is printed

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# Between two lines in a log, and between two updates on a terminal, in seconds.
LINE_INTERVAL_S, UPDATE_INTERVAL_S = 10.0, 0.5
# If a command fails, its last lines are printed.
NUM_LAST_LINES = 20
MAX_DETAIL_CHARACTERS = 70


class Status:
    """A line about work that takes long; a thread shows it.

    Attributes:
        detail: What is being done, such as "Downloading torch-2.15.0.whl (800 MB)"; may change at any time.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.detail = ""
        self.lock = threading.Lock()
        self.is_terminal = sys.stderr.isatty()
        self._is_done = threading.Event()
        self._started = time.monotonic()

    def format(self) -> str:
        """Return a line such as "setup: 40 s, Downloading torch-2.15.0.whl (800 MB)"."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        duration = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"{self.description}: {', '.join(filter(None, [duration, self.detail[:MAX_DETAIL_CHARACTERS]]))}"

    def show(self) -> None:
        """Show the line until `stop`."""
        while not self._is_done.wait(UPDATE_INTERVAL_S if self.is_terminal else LINE_INTERVAL_S):
            line = self.format()
            if self.is_terminal:
                line = f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}"
            with self.lock:
                print(line, end="" if self.is_terminal else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self.is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def print_above(self, line: str) -> None:
        """Print a line of the work itself to stdout, above the status."""
        with self.lock:
            self.clear()
            print(line, end="", flush=True)

    def stop(self) -> None:
        """End `show`."""
        self._is_done.set()


@contextmanager
def show_status(description: str) -> Iterator[Status]:
    """Show a line about the work in this context, if it takes long."""
    status = Status(description)
    thread = threading.Thread(target=status.show, daemon=True)
    thread.start()
    try:
        yield status
    finally:
        status.stop()
        thread.join()
        status.clear()


def run(description: str, command: list[str], prints_output: bool) -> int:
    """Run a command, and return its exit code. Its errors (stderr) are printed in any case.

    Args:
        description: Name of the work.
        command: The command.
        prints_output: Whether its output is printed. Otherwise, its last line is a part of the status.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    last_lines: deque[str] = deque(maxlen=NUM_LAST_LINES)
    with show_status(description) as status:
        if prints_output and status.is_terminal:
            environment.setdefault("FORCE_COLOR", "1")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace", env=environment)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        assert process.stdout is not None
        num_packages = 0
        for line in process.stdout:
            last_lines.append(line)
            if prints_output:
                status.print_above(line)
            else:
                # pip has found a package.
                num_packages += line.startswith(("Collecting ", "Requirement already satisfied"))
                plural = "" if num_packages == 1 else "s"
                status.detail = f"{num_packages} package{plural}, {line.strip()}" if num_packages else line.strip()
        code = process.wait()
    if code and not prints_output:
        print("".join(last_lines), end="", file=sys.stderr)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    words = sys.argv[1:]
    is_output = words[0] == "--output"
    try:
        sys.exit(run(words[is_output], words[1 + is_output :], is_output))
    except KeyboardInterrupt:
        sys.exit(130)
