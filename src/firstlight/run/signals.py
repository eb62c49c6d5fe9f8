"""Signals that ask a run to stop."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

# Ctrl-C, `kill`, a closed terminal, and Slurm before its time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def install_signal_handler(signals: Iterable[int], handler: Callable[[int, FrameType | None], Any]) -> None:
    """Install a handler for signals; under `nohup`, SIGHUP stays ignored."""
    for number in signals:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
