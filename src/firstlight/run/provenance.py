"""Provenance of a run: git commit and package versions."""

import importlib.metadata
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

TRACKED_PACKAGES = ("torch", "torchvision", "lightning", "transformers", "torchmetrics", "hydra-core", "wandb")


def run_git(*args: str, directory: Path | None = None) -> str:
    """Return the output of a git command.

    Args:
        args: Arguments of git.
        directory: Where to run git; None: the working directory.

    Raises:
        OSError, subprocess.SubprocessError: If git is not installed or the command fails.
    """
    command = ["git", *args]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def get_git_info() -> dict[str, Any] | None:
    """Return the commit and whether there are uncommitted changes; None outside a git repository."""
    try:
        return {"commit": run_git("rev-parse", "HEAD"), "dirty": bool(run_git("status", "--porcelain"))}
    except subprocess.CalledProcessError as error:
        if "dubious ownership" in error.stderr:
            # Git ignores a repository of another user, whose config could run programs.
            print(
                "Warning: the git commit is not recorded, because the repository belongs to another user. Run "
                f"`git config --global --add safe.directory {Path.cwd()}` if you trust it.",
                flush=True,
            )
        return None
    except (OSError, subprocess.SubprocessError):
        return None


def get_package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that influence results."""
    versions = {}
    for name in TRACKED_PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
