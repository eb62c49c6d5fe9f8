"""The rank of this process in a distributed run, as stated by the launcher that started the process."""

import os
from collections.abc import Mapping, MutableMapping

# SubprocessLauncher sets this variable for the processes that it starts, to its own process ID.
CHILD_VARIABLE = "FIRSTLIGHT_CHILD_PROCESS"
# Each launcher: its variables, of which the first one is the rank. Only a complete set counts: images, notebooks and
# earlier launchers leave single variables behind. torchrun comes first, because Slurm may have started it.
LAUNCHER_VARIABLES = {
    "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    "Slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_JOB_ID"),
    "Lightning": ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", CHILD_VARIABLE),
    # One process per machine, started by hand, which starts the other processes of its machine.
    "the machine": ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
}
NUMBERS = {"RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID"}
NUMBERS |= {"SLURM_NODEID", "SLURM_NTASKS"}
# Variables by which Lightning, torch and other libraries derive a rank, each one for itself.
RANK_VARIABLES: tuple[str, ...] = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
RANK_VARIABLES += ("SLURM_PROCID", "SLURM_LOCALID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK")
# Slurm gives these names to jobs with a shell, in which you start commands yourself.
INTERACTIVE_SLURM_JOBS = ("bash", "interactive")


def find_launchers(environment: Mapping[str, str]) -> list[str]:
    """Return the launchers whose variables are complete and valid, the one that started this process first."""
    return [name for name in LAUNCHER_VARIABLES if _is_complete(name, environment)]


def get_launcher() -> str:
    """Return the launcher that started this process, "" if you did."""
    return next(iter(find_launchers(os.environ)), "")


def is_nonzero_rank() -> bool:
    """Return True if this process is not rank 0."""
    launchers = find_launchers(os.environ)
    names = [LAUNCHER_VARIABLES[name][0] for name in launchers[:1]]
    # A process that Lightning started is one of several on its machine, which is one of several.
    names += ["NODE_RANK"] if launchers[:1] == ["Lightning"] else []
    return any(int(os.environ[name]) for name in names)


def remove_stray_variables(environment: MutableMapping[str, str]) -> str:
    """Remove the rank variables that are not part of a complete set: libraries would respond to each of them.

    Args:
        environment: Environment variables, modified in place.

    Returns:
        The line that names the removed variables; "" if there are none.
    """
    used = {name for launcher in find_launchers(environment) for name in LAUNCHER_VARIABLES[launcher]}
    # torchrun sets these two for other programs.
    used |= {"GROUP_RANK", "LOCAL_WORLD_SIZE"} if "torchrun" in find_launchers(environment) else set()
    stray = {name: environment.pop(name) for name in RANK_VARIABLES if name in environment and name not in used}
    # A Slurm batch script is a process with these variables, too.
    named = [f"{name}={value}" for name, value in stray.items() if not (name.startswith("SLURM") and value == "0")]
    if not named:
        return ""
    return (
        f"Ignored {', '.join(named)}: the variables of torchrun, Slurm or Lightning are incomplete, so this process is "
        "not part of a distributed run."
    )


def _is_complete(launcher: str, environment: Mapping[str, str]) -> bool:
    """Return True if all variables of a launcher are set and valid."""
    if launcher == "Slurm" and environment.get("SLURM_JOB_NAME") in INTERACTIVE_SLURM_JOBS:
        return False
    values = {name: environment.get(name, "") for name in LAUNCHER_VARIABLES[launcher]}
    return all(value.isdecimal() if name in NUMBERS else value for name, value in values.items())
