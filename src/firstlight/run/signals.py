"""Signals that ask a command to stop: it ends with one line and the exit code 128 + signal."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from firstlight.run.json_output import print_before_exit

# Ctrl-C, `kill`, a closed terminal, and Slurm before its time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A library may swallow the exception of a stop signal, for example in a destructor. The signal is then repeated.
REPEAT_INTERVAL_S = 20.0
# Commands that print where a stopped training run was saved.
TRAINING_COMMANDS = ("train", "sweep")


class StopState:
    """The stop signals of this process.

    Attributes:
        is_command: Whether this process runs a command, and not, for example, a notebook or a test.
        received: The signals that `handle_stop_signal` has received.
        num_deferrals: Number of open `defer_stop_signals` contexts.
        ended: Set once the command has ended; None outside of `exit_on_stop_signals`.
    """

    def __init__(self) -> None:
        self.is_command = False
        self.received: list[int] = []
        self.num_deferrals = 0
        self.ended: threading.Event | None = None


_state = StopState()


def install_signal_handler(signals: Iterable[int], handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Install a handler for signals, and return the previous handlers; under `nohup`, SIGHUP stays ignored."""
    previous = {number: signal.getsignal(number) for number in signals}
    for number, handler_before in previous.items():
        if number != signal.SIGHUP or handler_before != signal.SIG_IGN:
            signal.signal(number, handler)
    return previous


def restore_signal_handlers(previous: dict[int, Any]) -> None:
    """Install the handlers that `install_signal_handler` returned."""
    for number, handler in previous.items():
        if handler is not None:  # a library installed it in C
            signal.signal(number, handler)


def exit_on_signals_during_import() -> None:
    """Exit at a stop signal while a command still imports its modules, when there is nothing to clean up."""
    _state.is_command = True
    name = sys.orig_argv[sys.orig_argv.index("-m") + 1].rpartition(".")[2] if "-m" in sys.orig_argv else "firstlight"

    def exit_immediately(number: int, frame: FrameType | None) -> None:
        # Not with print, which fails if the signal arrives during another print.
        os.write(2, f"{format_stop(name, number)}\n".encode())
        print_before_exit(name, 128 + number)
        os._exit(128 + number)

    install_signal_handler(STOP_SIGNALS, exit_immediately)


@contextmanager
def exit_on_stop_signals(name: str) -> Iterator[None]:
    """Raise SystemExit at a stop signal inside this context, so that every `finally` runs; then exit.

    Inside another such context, only that context exits.

    Args:
        name: The command.

    Raises:
        SystemExit: If a stop signal arrives, with the code 128 + signal.
    """
    if _state.ended is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.ended = threading.Event()
    previous = install_signal_handler(STOP_SIGNALS, handle_stop_signal)
    previous_hook, sys.unraisablehook = sys.unraisablehook, repeat_unraised_stop
    try:
        try:
            yield
        except KeyboardInterrupt:
            _state.received.append(signal.SIGINT)
        except SystemExit as stop:
            # Another handler stops a training run, and has printed the checkpoint. Libraries may replace the exit code.
            if not get_received_signal() and not is_stop_code(stop.code):
                raise
            _exit(name, int(stop.code or 0))
        if number := get_received_signal():
            _exit(name, 128 + number)
    finally:
        _state.ended.set()
        _state.ended, _state.received = None, []
        sys.unraisablehook = previous_hook
        restore_signal_handlers(previous)


def _exit(name: str, code: int) -> None:
    """Print the signal, unless a training run has printed its checkpoint, and exit without waiting for threads."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)
    number = get_received_signal()
    code = 128 + number if number else code
    if number or name not in TRAINING_COMMANDS:
        with suppress(OSError, ValueError):
            print(format_stop(name, code - 128), file=sys.stderr, flush=True)
    if _state.is_command:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        print_before_exit(name, code)
        os._exit(code)
    raise SystemExit(code)


def handle_stop_signal(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit at a stop signal, at once or at the end of `defer_stop_signals`, and repeat the signal.

    Raises:
        SystemExit: With the code 128 + signal.
    """
    _state.received.append(number)
    if len(_state.received) == 1 and _state.ended is not None:
        threading.Thread(target=_repeat_signal, args=(number, _state.ended), daemon=True).start()
    if not _state.num_deferrals:
        raise SystemExit(128 + number)


def _repeat_signal(number: int, ended: threading.Event) -> None:
    """Send a signal to this process until the command has ended."""
    while not ended.wait(REPEAT_INTERVAL_S):
        os.kill(os.getpid(), number)


def repeat_unraised_stop(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a stop signal again shortly after it arrived in a destructor, whose exceptions Python ignores."""
    if isinstance(unraisable.exc_value, SystemExit) and (number := get_received_signal()):
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(unraisable)


@contextmanager
def defer_stop_signals() -> Iterator[None]:
    """Let a short operation finish before a stop signal takes effect, for example the start of a run.

    Raises:
        SystemExit: At the end, if a stop signal arrived inside this context.
    """
    num_received = len(_state.received)
    _state.num_deferrals += 1
    try:
        yield
    finally:
        _state.num_deferrals -= 1
    if len(_state.received) > num_received and not _state.num_deferrals:
        raise SystemExit(128 + _state.received[-1])


def get_received_signal() -> int:
    """Return the first stop signal that this command has received, or 0.

    Errors after a stop signal are its consequences: a library may replace the SystemExit by an error of its own.
    """
    return _state.received[0] if _state.received else 0


def is_stop_code(code: object) -> bool:
    """Return True if an exit code is 128 + a stop signal."""
    return isinstance(code, int) and code - 128 in STOP_SIGNALS


def format_stop(name: str, number: int) -> str:
    """Return the line that a stopped command prints."""
    return f"{name}: stopped by {signal.Signals(number).name}."
