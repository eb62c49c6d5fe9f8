"""Prepare the process for the environments of real machines: leftover variables, directories, streams, limits."""

import os
import resource
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import suppress

from firstlight.run.errors import ConfigError
from firstlight.run.rank import remove_stray_variables

# Paths of Unix sockets have at most 103 bytes on macOS and 107 on Linux. In the temporary directory, torch creates
# torch-shm-dir-XXXXXX/manager.sock, and Python pymp-xxxxxxxx/listener-xxxxxxxx.
MAX_TMPDIR_BYTES = 103 - len("/torch-shm-dir-XXXXXX/manager.sock")
SHORT_TMPDIR = "/tmp"
# Numbers of open files to request, the best one first.
OPEN_FILES = (65536, 10240, 4096)


def prepare_process() -> None:
    """Make this process independent of leftover variables and unusable directories, and print what was changed.

    Raises:
        ConfigError: If there is no usable temporary directory.
    """
    open_closed_streams()
    raise_open_file_limit()
    for line in filter(None, iter_changes(os.environ)):
        print(line, file=sys.stderr, flush=True)


def iter_changes(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Change the environment variables in place, and yield a line for each change that users should know of.

    Raises:
        ConfigError: If there is no usable temporary directory.
    """
    if line := remove_stray_variables(environment):
        # Lightning derives the rank when it is imported, which may be before this call.
        if (rank_zero := sys.modules.get("lightning_utilities.core.rank_zero")) is not None:
            rank_zero.rank_zero_only.rank = 0
        yield line
    yield choose_temporary_dir(environment)


def choose_temporary_dir(environment: MutableMapping[str, str]) -> str:
    """Set TMPDIR to a directory that torch and Python can use, if it is not.

    Args:
        environment: Environment variables, modified in place.

    Returns:
        The line about the change; "" if there is none.

    Raises:
        ConfigError: If there is no usable temporary directory.
    """
    requested = environment.get("TMPDIR", "")
    try:
        chosen = tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(
            "No usable temporary directory: neither $TMPDIR nor /tmp is writable. Set TMPDIR to a writable directory."
        ) from error
    reason = f"not a writable directory: {requested}" if requested else ""
    if len(os.fsencode(chosen)) > MAX_TMPDIR_BYTES and os.access(SHORT_TMPDIR, os.W_OK):
        reason = f"longer than {MAX_TMPDIR_BYTES} characters, and sockets do not fit in it: {chosen}"
        chosen = SHORT_TMPDIR
    if not reason or chosen == os.path.abspath(requested):
        return ""
    # torch reads the variable itself, and does not check whether it can use the directory.
    environment["TMPDIR"] = tempfile.tempdir = chosen
    return f"Using {chosen} for temporary files, because TMPDIR is {reason}."


def open_closed_streams() -> None:
    """Open /dev/null in place of closed standard streams, as some daemons and cron jobs leave them.

    Otherwise, the next opened file gets the number of a stream, and receives the messages of C libraries.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def raise_open_file_limit() -> None:
    """Raise the number of files that this process may open as far as the system permits.

    Each DataLoader worker and each of its batches needs several; macOS permits 256 by default.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in OPEN_FILES:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with suppress(OSError, ValueError):  # macOS permits less than its hard limit
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                return
