"""Show the progress of long work outside of training: a bar on a terminal, otherwise a line every ten seconds."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import IO, Any, TypeVar, cast

from firstlight.run.console_log import BrokenPipeSafeStream, TeeStream, print_above_progress_bar
from firstlight.run.rank import is_nonzero_rank

# Shorter work is not shown, in seconds.
SHOW_AFTER_S = 2.0
# Between two lines in a log, and between two updates of a bar, in seconds.
LINE_INTERVAL_S, BAR_INTERVAL_S = 10.0, 0.2

Item = TypeVar("Item")


class WorkProgress:
    """How much of a work is done. A thread shows it, so that a single long call is visible, too.

    Attributes:
        description: What the process does, such as "Tokenizing texts".
        total: Number of items. If None, it is unknown; it may be set later.
        completed: Number of completed items.
    """

    # Work inside of other work is not shown: one bar at a time.
    is_any_shown = False

    def __init__(self, description: str, total: int | None = None) -> None:
        self.description = description
        self.total = total
        self.completed = 0
        self.is_shown = False
        # The streams of the start: an export redirects them, to hide the output of its libraries.
        self._stdout, self._stderr, self._has_terminal = sys.stdout, sys.stderr, is_terminal()
        self._is_done = threading.Event()
        self._started = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Add completed items."""
        self.completed += count

    def format_line(self) -> str:
        """Return a line such as "Tokenizing: 2 of 8 (25 %), 4 s, 12 s left"."""
        elapsed_s = time.monotonic() - self._started
        parts = [f"{self.completed:,}"] if self.completed else []
        if self.total:
            parts = [f"{self.completed:,} of {self.total:,} ({100 * self.completed // self.total} %)"]
        parts.append(format_duration(elapsed_s))
        if self.total and 0 < self.completed <= self.total:
            parts.append(f"{format_duration(elapsed_s / self.completed * (self.total - self.completed))} left")
        return f"{self.description}: {', '.join(parts)}"

    def format_result(self) -> str:
        """Return a line such as "Tokenizing: 8 in 16 s"."""
        items = f"{self.completed:,} in " if self.completed else ""
        return f"{self.description}: {items}{format_duration(time.monotonic() - self._started)}"

    def run_display(self) -> None:
        """Show the progress until `stop`."""
        if not self._is_done.wait(SHOW_AFTER_S):
            (self._show_bar if self._has_terminal else self._print_lines)()

    def stop(self) -> None:
        """End `run_display`."""
        self._is_done.set()

    def _print_lines(self) -> None:
        wait_s = LINE_INTERVAL_S - SHOW_AFTER_S
        while not self._is_done.wait(wait_s):
            self.is_shown = True
            print(self.format_line(), file=self._stderr, flush=True)
            wait_s = LINE_INTERVAL_S

    def _show_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.is_shown = True
        # The bar is written to the terminal only, not to output.log. Rich's redirection would bypass output.log.
        terminal = Console(file=cast(IO[str], BrokenPipeSafeStream(cast(IO[str], sys.__stdout__))))
        # It would restore the streams that it finds here, which the work itself may have redirected for a while.
        is_redirected = (sys.stdout, sys.stderr) != (self._stdout, self._stderr)
        redirects = not is_redirected and not isinstance(sys.stdout, TeeStream)
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
        bar = Progress(
            *columns,
            console=terminal,
            transient=True,
            auto_refresh=False,
            redirect_stdout=redirects,
            redirect_stderr=redirects,
        )
        with bar, print_above_progress_bar(terminal):
            task = bar.add_task(self.format_line(), total=self.total)
            while not self._is_done.wait(BAR_INTERVAL_S):
                bar.update(
                    task, description=self.format_line(), total=self.total, completed=self.completed, refresh=True
                )


def is_terminal() -> bool:
    """Return True if stdout and stderr are a terminal that shows no other bar, such as the one of an epoch."""
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr, sys.__stdout__)
    return all(stream is not None and stream.isatty() and not is_above_bar(stream) for stream in streams)


def is_above_bar(stream: Any) -> bool:
    """Return True if a stream prints above a bar of rich, which replaces it by a FileProxy meanwhile."""
    return "FileProxy" in (type(stream).__name__, type(getattr(stream, "stream", None)).__name__)


@contextmanager
def show_progress(description: str, total: int | None = None) -> Iterator[WorkProgress]:
    """Show the progress of the work in this context on rank 0, if it takes more than two seconds.

    Args:
        description: What the process does, such as "Tokenizing texts".
        total: Number of items. If None, the number of completed items and the elapsed time are shown.

    Yields:
        The progress, whose method `advance` counts completed items. Work without items does not call it.
    """
    progress = WorkProgress(description, total)
    if WorkProgress.is_any_shown or is_nonzero_rank():
        yield progress
        return
    WorkProgress.is_any_shown = True
    thread = threading.Thread(target=progress.run_display, daemon=True, name="progress")
    thread.start()
    try:
        yield progress
    finally:
        progress.stop()
        thread.join()
        WorkProgress.is_any_shown = False
    if progress.is_shown:
        print(progress.format_result(), file=sys.stderr, flush=True)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield items, and show how many of them are done. See `show_progress`.

    Args:
        items: The items.
        description: What the process does, such as "Tokenizing texts".
        total: Number of items. If None, the length of `items` if it has one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with show_progress(description, total) as progress:
        for item in items:
            yield item
            progress.completed += 1


def format_duration(seconds: float) -> str:
    """Return a duration such as "12 s", "3 min 5 s" or "2 h 10 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
