"""What a result came from: the commit of the project, and the versions of the packages."""

import importlib.metadata
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "lightning", "transformers", "torchmetrics", "hydra-core", "wandb")


def git(*words: str, folder: Path | None = None) -> str:
    """Return what git says of a folder, the working directory by default.

    Raises:
        OSError, subprocess.SubprocessError: there is no git, or it has nothing to say.
    """
    command = ["git", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it has changes; None outside git."""
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide over a result, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
