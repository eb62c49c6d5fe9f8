"""Keep what a run prints."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any


class Both:
    """A stream that also writes to a file, for as long as that is open."""

    def __init__(self, stream: IO[str], file: IO[str]) -> None:
        """Write to both."""
        self.stream = stream
        self.file = file

    def write(self, text: str) -> int:
        """Write the text; a full disk does not stop the run that prints."""
        if not self.file.closed:
            with suppress(OSError):
                self.file.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append what is printed meanwhile to a file, and the traceback of an error.

    Raises:
        BaseException: whatever is raised meanwhile.
    """
    with (
        path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        redirect_stdout(Both(sys.stdout, file)),  # type: ignore[type-var]
        redirect_stderr(Both(sys.stderr, file)),  # type: ignore[type-var]
    ):
        try:
            yield
        except BaseException:
            traceback.print_exc(file=file)
            raise
