"""Keep what a run prints."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from firstlight.run.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console


class BrokenPipeSafeStream:
    """A stream that stops no run when nobody looks any more: a terminal was closed, or `| head` has enough."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to it."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text."""
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        with suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class TeeStream(BrokenPipeSafeStream):
    """A stream that also writes to a file, for as long as that is open."""

    def __init__(self, stream: IO[str], file: FileIO) -> None:
        """Write to both."""
        super().__init__(stream)
        self.file = file

    def write(self, text: str) -> int:
        """Write the text."""
        append_redacted(self.file, text)
        return super().write(text)


@contextmanager
def print_above_progress_bar(console: "Console") -> Iterator[None]:
    """Let what is printed meanwhile appear above the bar of a console, and be kept as before."""
    from rich.file_proxy import FileProxy

    streams = [(each, each.stream) for each in (sys.stdout, sys.stderr) if isinstance(each, TeeStream)]
    for both, stream in streams:
        both.stream = cast(IO[str], FileProxy(console, stream))
    try:
        yield
    finally:
        for both, stream in streams:
            both.flush()
            both.stream = stream


@contextmanager
def tee_to_file(path: Path) -> Iterator[None]:
    """Append what is printed meanwhile to a file, and the traceback of an error.

    Raises:
        BaseException: whatever is raised meanwhile.
    """
    with FileIO(path, "a") as file:
        out: Any = TeeStream(sys.stdout, file)
        err: Any = TeeStream(sys.stderr, file)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                yield
            except BaseException:
                append_redacted(file, traceback.format_exc())
                raise


def append_redacted(file: FileIO, text: str) -> None:
    """Append a text to a file, without secrets; one that is closed, or full, does not stop the run that prints."""
    if not file.closed:
        with suppress(OSError):
            file.write(redact(text).encode("utf-8", "backslashreplace"))
