"""The launcher that started the processes of a run."""

import os
import sys
from typing import Any

from firstlight.run.errors import ConfigError
from firstlight.run.rank import get_launcher


def detect_cluster_environment() -> Any:
    """Return Lightning's cluster environment: torchrun, Slurm, or Lightning itself.

    Lightning's own detection responds to single variables, and to the ones of further launchers.

    Raises:
        ConfigError: If Slurm was called with options that Lightning does not support.
    """
    from lightning.fabric.plugins import environments

    classes: dict[str, Any] = {
        "torchrun": environments.TorchElasticEnvironment,  # type: ignore[attr-defined]
        "Slurm": environments.SLURMEnvironment,  # type: ignore[attr-defined]
    }
    try:
        return classes.get(get_launcher(), environments.LightningEnvironment)()  # type: ignore[attr-defined]
    except RuntimeError as error:  # options of Slurm that Lightning does not support
        raise ConfigError(" ".join(str(error).split())) from error


def is_started_externally() -> bool:
    """Return True if torchrun or Slurm starts all processes of the run."""
    return get_launcher() in ("torchrun", "Slurm")


def remove_stray_address(num_nodes: int) -> None:
    """Remove the address of a first machine, which does not concern a run on one machine, and print one line.

    Args:
        num_nodes: Number of machines of the run.
    """
    # After Lightning has started processes, LOCAL_RANK is set and the address is the one that they use.
    if num_nodes > 1 or "LOCAL_RANK" in os.environ or get_launcher() not in ("", "the machine"):
        return
    names = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name in os.environ]
    values = [f"{name}={os.environ.pop(name)}" for name in names]
    if values:
        message = f"Ignored {', '.join(values)}: the processes of one machine use a free port of it."
        print(message, file=sys.stderr, flush=True)
