"""Optional parts of a run, such as plots and loggers: if one fails, one line says so and the run continues."""

from collections.abc import Iterator
from contextlib import contextmanager

from firstlight.run.errors import describe_error


@contextmanager
def continue_on_failure(part: str) -> Iterator[None]:
    """Context manager or decorator that prints one line if an optional part of a run fails.

    Args:
        part: What is missing after a failure, such as "learning_curves.png".
    """
    try:
        yield
    except Exception as error:
        print_failure(part, error)


def print_failure(part: str, error: BaseException) -> None:
    """Print that a run continues without an optional part."""
    print(f"Warning: {part} failed ({describe_error(error)}). The run continues without it.", flush=True)
