"""Check the directories in which a command searches for runs."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from firstlight.run.errors import ConfigError, invalid_value, not_found


def validate_search_dirs(value: Any) -> list[Path]:
    """Return the directories to search for runs.

    Args:
        value: The value of `runs=`.

    Raises:
        ConfigError: If one of them is not a directory, or the value has the wrong type.
    """
    values = list(value) if OmegaConf.is_list(value) else [value]
    if not values or not all(isinstance(item, str) and item for item in values):
        fix = "Use e.g. runs=logs/sweep/<sweep>."
        raise ConfigError(invalid_value("runs", value, "a directory or a list of directories", fix))
    for run_dir in map(Path, values):
        if run_dir.is_file():
            raise ConfigError(f"{run_dir} is a file, but runs= expects a directory. Use runs={run_dir.parent}.")
        if not run_dir.is_dir():
            raise ConfigError(not_found(f"Directory {run_dir}", suggest_dir(run_dir), "runs", str(run_dir)))
    return [Path(item) for item in values]


def suggest_dir(missing: Path) -> str:
    """Return the fix for a directory that does not exist."""
    # The project's root directory contains no runs.
    is_known = missing.parent != Path() and missing.parent.is_dir()
    siblings = [path for path in missing.parent.glob("*") if path.is_dir()] if is_known else []
    newest = max(siblings, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return "Use runs=logs, or the run directory printed by `make train`."
    return f"Use e.g. runs={newest}."
