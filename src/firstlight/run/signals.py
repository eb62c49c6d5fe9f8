"""The signals by which a run is asked to end."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

# Ctrl-C, `kill`, a terminal that is closed, Slurm before its time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def install_signal_handler(numbers: Iterable[int], handler: Callable[[int, FrameType | None], Any]) -> None:
    """Let a handler hear of signals; with `nohup` a terminal that is closed ends nothing."""
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
