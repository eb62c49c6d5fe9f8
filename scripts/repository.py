"""Questions to git about a checkout. Standard library only."""

from __future__ import annotations

import subprocess
from pathlib import Path


def get_git_output(root: Path, *arguments: str) -> str | None:
    """Return the output of a git command, or None if git is not installed or fails."""
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.decode(errors="surrogateescape").strip()


def is_owned_by_other_user(root: Path) -> bool:
    """Return True if git ignores a repository because of its owner."""
    try:
        result = subprocess.run(["git", "status"], cwd=root, capture_output=True)
    except OSError:
        return False
    return b"dubious ownership" in result.stderr
