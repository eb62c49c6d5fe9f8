"""Log what a run prints to output.log."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from firstlight.run.redaction import LogRedactor

if TYPE_CHECKING:
    from rich.console import Console

# A longer line is written in parts.
MAX_LINE_LENGTH = 65_536


class BrokenPipeSafeStream:
    """A stream that ignores a closed terminal or pipe, so that `make train | head` does not stop the run."""

    def __init__(self, stream: IO[str]) -> None:
        """Wrap a stream."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; ignore a closed stream."""
        with suppress(OSError):
            try:
                self.stream.write(text)
            except UnicodeEncodeError:  # a file name that is not UTF-8, or a terminal that is not
                encoding = getattr(self.stream, "encoding", None) or "utf-8"
                self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream; ignore a closed stream."""
        with suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class RedactedFile:
    """A log file whose lines are written with secrets masked; a closed file or a full disk does not stop the run.

    The name of a secret and its value may arrive in separate parts. A line is therefore written when it is complete, or
    flushed.
    """

    def __init__(self, file: FileIO) -> None:
        """Wrap a file."""
        self.file = file
        self.redact = LogRedactor()
        self.incomplete_line = ""

    def write(self, text: str) -> None:
        """Write the complete lines; a progress bar ends its lines with a carriage return."""
        lines, end, rest = (self.incomplete_line + text).rpartition("\n")
        if not end and ("\r" in rest or len(rest) > MAX_LINE_LENGTH):
            lines, rest = rest, ""
        self.incomplete_line = rest
        self.append(lines + end)

    def flush(self) -> None:
        """Write the incomplete line."""
        line, self.incomplete_line = self.incomplete_line, ""
        self.append(line)

    def append(self, text: str) -> None:
        """Append text with secrets masked."""
        if text and not self.file.closed:
            with suppress(OSError):
                self.file.write(self.redact(text).encode("utf-8", "backslashreplace"))


class TeeStream(BrokenPipeSafeStream):
    """A stream that also writes to a log file."""

    def __init__(self, stream: IO[str], file: RedactedFile) -> None:
        """Wrap a stream and a log file."""
        super().__init__(stream)
        self.file = file

    def write(self, text: str) -> int:
        """Write text to the log file, with secrets masked, and to the stream."""
        self.file.write(text)
        return super().write(text)

    def flush(self) -> None:
        """Flush the log file and the stream."""
        self.file.flush()
        super().flush()


class RedactedStream(BrokenPipeSafeStream):
    """A stream to a file that keeps no secrets, such as the output of a Slurm job."""

    def __init__(self, stream: IO[str]) -> None:
        """Wrap a stream."""
        super().__init__(stream)
        self.redact = LogRedactor()

    def write(self, text: str) -> int:
        """Write text with secrets masked."""
        super().write(self.redact(text))
        return len(text)


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
        log_files = RedactedFile(file), RedactedFile(file)
        out: Any = TeeStream(sys.stdout, log_files[0])
        err: Any = TeeStream(sys.stderr, log_files[1])
        with redirect_stdout(out), redirect_stderr(err):
            try:
                yield
            except BaseException:
                log_files[1].write(traceback.format_exc())
                raise
            finally:
                for log_file in log_files:
                    log_file.flush()
