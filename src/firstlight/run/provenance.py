"""What a result came from: the commit of the project, and the versions of the packages."""

import importlib.metadata
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

TRACKED_PACKAGES = ("torch", "torchvision", "lightning", "transformers", "torchmetrics", "hydra-core", "wandb")


def run_git(*words: str, folder: Path | None = None) -> str:
    """Return what git says of a folder, the working directory by default.

    Raises:
        OSError, subprocess.SubprocessError: there is no git, or it has nothing to say.
    """
    command = ["git", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def get_git_info() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it has changes; None outside git."""
    try:
        return {"commit": run_git("rev-parse", "HEAD"), "dirty": bool(run_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def get_package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide over a result, as far as they are installed."""
    found = {}
    for name in TRACKED_PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
