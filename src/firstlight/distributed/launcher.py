"""Launcher of one process per device on this machine."""

import os
from collections.abc import Callable
from typing import Any

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from firstlight.run.rank import CHILD_VARIABLE


class SubprocessLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of one process per device, without its thread that kills all processes if one fails.

    `RankWatchdog` stops them instead, after it has recorded the reason.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes, unless torchrun or Slurm has, and call the function in this one."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            os.environ[CHILD_VARIABLE] = str(os.getpid())  # inherited by the processes
            try:
                self._call_children_scripts()
            finally:
                del os.environ[CHILD_VARIABLE]
        return function(*args, **kwargs)


def make_launcher(strategy: Any) -> SubprocessLauncher:
    """Return the launcher for the processes of a strategy on this machine."""
    return SubprocessLauncher(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)
