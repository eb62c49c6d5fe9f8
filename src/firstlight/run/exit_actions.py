"""What loggers do when a run ends."""

from collections.abc import Callable
from pathlib import Path

_exit_actions: dict[Path, list[Callable[[int], None]]] = {}


def register_exit_action(run_dir: Path, action: Callable[[int], None]) -> None:
    """Register a function that is called with the exit code (0 or 1) when the run in a directory ends."""
    _exit_actions.setdefault(run_dir.resolve(), []).append(action)


def run_exit_actions(run_dir: Path, exit_code: int) -> None:
    """Call the functions of a run: an open logger would write into the run of the next sweep job."""
    for action in _exit_actions.pop(run_dir.resolve(), []):
        action(exit_code)
