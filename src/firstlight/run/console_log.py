"""Log what a run prints to output.log."""

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
    """A stream that ignores a closed terminal or pipe, so that `make train | head` does not stop the run."""

    def __init__(self, stream: IO[str]) -> None:
        """Wrap a stream."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; ignore a closed stream."""
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; ignore a closed stream."""
        with suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class TeeStream(BrokenPipeSafeStream):
    """A stream that also writes to a file while that file is open."""

    def __init__(self, stream: IO[str], file: FileIO) -> None:
        """Wrap a stream and a file."""
        super().__init__(stream)
        self.file = file

    def write(self, text: str) -> int:
        """Write text to the file, with secrets masked, and to the stream."""
        append_redacted(self.file, text)
        return super().write(text)


@contextmanager
def print_above_progress_bar(console: "Console") -> Iterator[None]:
    """Print above the progress bar of a console; the output is still logged."""
    from rich.file_proxy import FileProxy

    streams = [(tee, tee.stream) for tee in (sys.stdout, sys.stderr) if isinstance(tee, TeeStream)]
    for tee, stream in streams:
        tee.stream = cast(IO[str], FileProxy(console, stream))
    try:
        yield
    finally:
        for tee, stream in streams:
            tee.flush()
            tee.stream = stream


@contextmanager
def tee_to_file(path: Path) -> Iterator[None]:
    """Append everything that is printed to a file, and the traceback of an error.

    Raises:
        BaseException: If the body raises; the traceback is logged first.
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
    """Append text with secrets masked; a closed file or a full disk does not stop the run."""
    if not file.closed:
        with suppress(OSError):
            file.write(redact(text).encode("utf-8", "backslashreplace"))
