"""Run a script: errors are one line, the exit code is 0 (done), 1 (failed) or 2 (invalid input).

With json=true, the script prints one JSON object to stdout, and everything else to stderr. The object has the form of
src/firstlight/run/json_output.py, which scripts cannot import. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

ARGUMENT = re.compile(r"json=(true|false)", re.IGNORECASE)
# Verbs with which the fix of a message begins.
VERBS = "Add|Change|Check|Close|Choose|Commit|Fix|Install|Keep|Move|Pass|Remove|Replace|Restore|Run|Use"
FIX = re.compile(rf"(?<=[.)] )(?:(?:{VERBS}|Did you mean|Available:|Only)\b|(?:If|To) [^.]+, ).*", re.DOTALL)
# The key and the value in the messages of the scripts.
KEY = re.compile(r"(?:Invalid value for|Unknown (?:option|setting)|Option|Unknown \w+ or \w+) '?(\w+)")
VALUE = re.compile(r"got (?:'([^']*)'|(\w\S*?))(?=[.,;]? |\.$)")

# Result of the script that runs.
_result: dict[str, Any] = {}


class ScriptError(ValueError):
    """An error that is not caused by the arguments of the script."""


def update_result(**fields: Any) -> None:
    """Add fields to the result."""
    _result.update(fields)


def run_script(name: str, function: Callable[[list[str]], int | None]) -> None:
    """Run a script with the arguments of the command line, and exit.

    Args:
        name: Name of the script.
        function: Receives the arguments without json=true, and returns the exit code; None: 0.

    Raises:
        SystemExit: Always.
    """
    arguments, is_json = pop_json_argument(sys.argv[1:])
    with redirect_output(is_json) as descriptor:
        code, message, kind = run_and_print_error(name, function, arguments)
        if is_json:
            write_object(descriptor, name, code, message, kind)
    sys.exit(code)


def pop_json_argument(arguments: list[str]) -> tuple[list[str], bool]:
    """Return the arguments without json=true or json=false, and whether the object is requested."""
    matches = [match for match in map(ARGUMENT.fullmatch, arguments) if match]
    others = [argument for argument in arguments if not ARGUMENT.fullmatch(argument)]
    return others, bool(matches) and matches[-1][1].lower() == "true"


def run_and_print_error(
    name: str, function: Callable[[list[str]], int | None], arguments: list[str]
) -> tuple[int, str, str]:
    """Run a function; print its error as one line; return the exit code, the message and the class of the error."""
    signal.signal(signal.SIGTERM, raise_system_exit)
    try:
        return function(arguments) or 0, "", ""
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        is_input = not isinstance(error, ScriptError) and not isinstance(error.__cause__, (OSError, KeyboardInterrupt))
        return (2 if is_input else 1), str(error), "ConfigError" if is_input else type(error).__name__
    except KeyboardInterrupt:
        return 130, "stopped by SIGINT", "Stopped"
    except SystemExit as stop:  # of argparse, or of a signal
        code = stop.code if isinstance(stop.code, int) else 1
        if code > 128:
            return code, f"stopped by {signal.Signals(code - 128).name}", "Stopped"
        message = "Invalid command line. Use only the arguments that the usage on stderr lists." if code else ""
        return code, message, "ConfigError"
    except Exception as error:
        import traceback

        traceback.print_exc()
        return 1, " ".join(str(error).split()), type(error).__name__


def raise_system_exit(number: int, frame: FrameType | None) -> None:
    """Exit with the code 128 + signal.

    Raises:
        SystemExit: Always.
    """
    raise SystemExit(128 + number)


@contextlib.contextmanager
def redirect_output(is_requested: bool) -> Iterator[int]:
    """Send the output of this process and its children to stderr; yield a descriptor of the original stdout, or 1."""
    if not is_requested:
        yield 1
        return
    sys.stdout.flush()
    descriptor = os.dup(1)
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        yield descriptor
    os.close(descriptor)


def write_object(descriptor: int, name: str, code: int, message: str, kind: str) -> None:
    """Write the object as one line of JSON; a closed pipe is ignored.

    Args:
        descriptor: File descriptor of stdout.
        name: The command.
        code: Its exit code.
        message: Message of its error, which may be known from the result only.
        kind: Class of the error.
    """
    key, value, fix = KEY.search(message), VALUE.search(message), FIX.search(message)
    error = {
        "type": kind or "ScriptError",
        "message": message or "The command has failed. Its result, or its messages on stderr, name the reason.",
        "key": key[1] if key else None,
        "value": next(filter(None, value.groups()), "") if value else None,
        "fix": fix[0] if fix else None,
    }
    content = {"command": name, "exit_code": code, "result": _result or None, "error": error if code else None}
    data = f"{json.dumps(content)}\n".encode()
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
