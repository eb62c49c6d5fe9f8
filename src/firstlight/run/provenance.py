"""Provenance of a run: git commit and package versions."""

import hashlib
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
    """Return the commit and a digest of uncommitted changes; None outside a git repository."""
    try:
        info: dict[str, Any] = {"commit": run_git("rev-parse", "HEAD"), "dirty": bool(run_git("status", "--porcelain"))}
        if info["dirty"]:
            # Untracked files are not part of it.
            info["diff"] = hashlib.sha256(run_git("diff", "HEAD").encode(errors="replace")).hexdigest()[:7]
        return info
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


def describe_source_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the changes of the commit and of package versions, such as "commit 1a2b3c4 -> 5d6e7f8".

    Args:
        before: "git" and "versions" of an attempt.
        now: "git" and "versions" of a later attempt.
    """
    changes = []
    first, second = (format_commit(attempt.get("git")) for attempt in (before, now))
    if first != second and "git" in before:
        changes.append(f"commit {first} -> {second}")
    versions = [value if isinstance(value := attempt.get("versions"), dict) else {} for attempt in (before, now)]
    for name in sorted({*versions[0], *versions[1]} if all(versions) else ()):
        old, new = (found.get(name, "not installed") for found in versions)
        changes += [f"{name} {old} -> {new}"] if old != new else []
    return changes


def format_commit(git: Any) -> str:
    """Return the short commit of `get_git_info`, with the digest of uncommitted changes."""
    if not isinstance(git, dict):
        return "none"
    return str(git.get("commit"))[:7] + (f" with changes {git.get('diff')}" if git.get("dirty") else "")
