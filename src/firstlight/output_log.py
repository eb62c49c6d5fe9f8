"""Keep what a run prints."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any

from firstlight.secret import hidden


class Both:
    """A stream that also writes to a file, for as long as that is open."""

    def __init__(self, stream: IO[str], file: FileIO) -> None:
        """Write to both."""
        self.stream = stream
        self.file = file

    def write(self, text: str) -> int:
        """Write the text."""
        keep(self.file, text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append what is printed meanwhile to a file, and the traceback of an error.

    Raises:
        BaseException: whatever is raised meanwhile.
    """
    with FileIO(path, "a") as file:
        out: Any = Both(sys.stdout, file)
        err: Any = Both(sys.stderr, file)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                yield
            except BaseException:
                keep(file, traceback.format_exc())
                raise


def keep(file: FileIO, text: str) -> None:
    """Append a text to a file, without secrets; one that is closed, or full, does not stop the run that prints."""
    if not file.closed:
        with suppress(OSError):
            file.write(hidden(text).encode("utf-8", "backslashreplace"))
