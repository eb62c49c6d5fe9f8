"""The JSON object that a command prints to stdout with json=true; all other output of the process goes to stderr."""

import json
import math
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from firstlight.run.rank import is_nonzero_rank

# The argument, in the spellings of a boolean that Hydra accepts.
JSON_ARGUMENT = re.compile(r"json=(true|false)", re.IGNORECASE)


class JsonOutput:
    """The object of a command, and the original stdout, to which it is printed.

    Args:
        command: The command.
        descriptor: File descriptor of the original stdout.
    """

    def __init__(self, command: str, descriptor: int) -> None:
        self.command = command
        self.descriptor = descriptor
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.is_printed = False

    def print(self, exit_code: int) -> None:
        """Print the object, once. A closed pipe is ignored."""
        if not self.is_printed:
            self.is_printed = True
            write_object(self.descriptor, self.command, exit_code, self.result, self.error)


# Set while this process runs a command with json=true.
_output: JsonOutput | None = None
# Whether this process has begun to run such a command.
_has_started = False


@contextmanager
def print_as_json(command: str, is_requested: bool) -> Iterator[None]:
    """Send the output of this process and its children to stderr, and print the object of the command at the end.

    Nothing happens without a request, and inside another such context.

    Args:
        command: The command.
        is_requested: Whether json=true was passed.

    Raises:
        BaseException: If the body raises; the object is printed first.
    """
    global _output, _has_started
    if not is_requested or _output is not None:
        yield
        return
    _has_started = True
    descriptor = redirect_output()
    _output = JsonOutput(command, descriptor)
    code = 0
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BaseException as error:
        code = get_exit_code(error)
        raise
    finally:
        _output.print(code)
        _output = None
        os.close(descriptor)


def redirect_output() -> int:
    """Make stdout of this process and its children the same as stderr, and return a descriptor of the original stdout.

    This also applies to output of C libraries and exit handlers, and is not undone.
    """
    # Imported late, because `python -m` imports this module before it handles signals.
    from firstlight.run.environment import open_closed_streams

    open_closed_streams()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    descriptor = os.dup(1)  # Not inherited by the processes of other programs.
    os.dup2(2, 1)
    return descriptor


def pop_json_argument(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments without `json=true` or `json=false`, and whether an object is requested.

    The argument is not part of the config that is composed: neither the jobs of a sweep, nor other ranks, nor a resumed
    run must print an object.
    """
    matches = [match for argument in arguments if (match := JSON_ARGUMENT.fullmatch(argument))]
    others = [argument for argument in arguments if not JSON_ARGUMENT.fullmatch(argument)]
    return others, bool(matches) and matches[-1][1].lower() == "true"


def is_json_requested() -> bool:
    """Return True while a command runs with json=true."""
    return _output is not None


def update_result(**fields: Any) -> None:
    """Add fields to the result, which is also printed if the command fails or is stopped later."""
    if _output is not None:
        _output.result = {**(_output.result or {}), **fields}


def set_result(result: dict[str, Any]) -> None:
    """Replace the result with the one that the command returns."""
    if _output is not None:
        _output.result = result


def add_job(run_dir: str, exit_code: int, result: dict[str, Any] | None = None) -> None:
    """Add a job to the result of a command that runs several; nothing else is part of this result.

    Args:
        run_dir: Run directory of the job.
        exit_code: What the exit code of the job would be as a command.
        result: The result of the job, if it has one.
    """
    if _output is not None:
        jobs = (_output.result or {}).get("jobs", [])
        _output.result = {"jobs": [*jobs, {"run_dir": run_dir, "exit_code": exit_code, "result": result}]}


def set_error(kind: str, message: str, key: str | None = None, value: object = None, fix: str | None = None) -> None:
    """Set the error of the command.

    Args:
        kind: Name of its class.
        message: The message, in one line.
        key: The config key or argument that caused it, if the message names one.
        value: The value of this key.
        fix: The part of the message that says what to do.
    """
    if _output is not None:
        _output.error = {"type": kind, "message": message, "key": key, "value": value, "fix": fix}


def print_before_exit(command: str, exit_code: int) -> None:
    """Print the object of a process that exits at once, also while it still imports its modules."""
    if _output is not None:
        _output.print(exit_code)
    elif not _has_started and pop_json_argument(sys.orig_argv)[1] and not is_nonzero_rank():
        write_object(1, command, exit_code, None, None)


def get_exit_code(error: BaseException) -> int:
    """Return the exit code of a process that an exception ends."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def write_object(
    descriptor: int, command: str, exit_code: int, result: dict[str, Any] | None, error: dict[str, Any] | None
) -> None:
    """Write the object as one line of JSON; a closed pipe is ignored."""
    if exit_code == 0:
        error = None  # For example of a failed trial, which the search has replaced.
    elif exit_code - 128 in {number.value for number in signal.Signals}:
        message = f"stopped by {signal.Signals(exit_code - 128).name}"
        error = {"type": "Stopped", "message": message, "key": None, "value": None, "fix": None}
    elif error is None:
        message = "The command has failed. Its messages on stderr name the reason."
        error = {"type": "SystemExit", "message": message, "key": None, "value": None, "fix": None}
    content = {"command": command, "exit_code": exit_code, "result": result, "error": error}
    data = f"{json.dumps(convert_to_json(content), allow_nan=False)}\n".encode()
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


def convert_to_json(value: Any) -> Any:
    """Return a value as JSON can state it: NaN and infinity, which JSON lacks, become null, and objects their text."""
    if isinstance(value, dict):
        return {str(name): convert_to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [convert_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if not isinstance(value, str | int | None) else value
