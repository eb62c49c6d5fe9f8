"""Provenance of a run: git commit, uncommitted changes and installed packages."""

import importlib.metadata
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from firstlight.run.containment import read_text_inside
from firstlight.run.files import write_atomically
from firstlight.run.installed_packages import list_installed_packages, parse_packages
from firstlight.run.optional import continue_on_failure
from firstlight.run.uncommitted import collect_uncommitted_changes

# In the run directory. A later attempt whose changes or packages differ has files of its own, with its number.
PROVENANCE_DIR = "provenance"
FILE_NAMES = {"packages": "packages{}.txt", "diff": "uncommitted{}.diff"}
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
    done = subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=10)
    # The bytes of a file name that is not valid UTF-8 become surrogates, as in Python's own paths.
    return os.fsdecode(done.stdout).strip()


def get_git_info() -> dict[str, Any] | None:
    """Return the commit, and whether there are uncommitted changes; None outside a git repository.

    Of a repository in which git takes too long, it is the commit only.
    """
    info: dict[str, Any] | None = None
    try:
        info = {"commit": run_git("rev-parse", "HEAD")}
        info["dirty"] = bool(run_git("status", "--porcelain", "--", "."))
    except subprocess.CalledProcessError as error:
        if "dubious ownership" in os.fsdecode(error.stderr or b""):
            # Git ignores a repository of another user, whose config could run programs.
            print(
                "Warning: the git commit is not recorded, because the repository belongs to another user. Run "
                f"`git config --global --add safe.directory {Path.cwd()}` if you trust it.",
                flush=True,
            )
    except subprocess.TimeoutExpired:
        print("Warning: the record of uncommitted changes failed (git takes longer than 10 s).", flush=True)
    except (OSError, subprocess.SubprocessError):
        pass
    return info


def record_provenance(run_dir: Path, attempts: list[dict[str, Any]]) -> None:
    """Write the installed packages and the uncommitted changes of the last attempt.

    The attempt gets the entry "provenance": the names of the files, or of equal files of the previous attempt, and how
    many packages changed since then. Its entry "git" gets a digest of the changes. If a part fails, the run continues.

    Args:
        run_dir: The run directory.
        attempts: The attempts of the run.
    """
    attempt = attempts[-1]
    attempt["provenance"] = {}
    with continue_on_failure("the list of packages"):
        record_text(run_dir, attempts, "packages", "\n".join(list_installed_packages()) + "\n")
    git = attempt["git"]
    if isinstance(git, dict) and git.get("dirty"):
        with continue_on_failure("the record of uncommitted changes"):
            changes = collect_uncommitted_changes()
            git.setdefault("diff", changes.digest)
            record_text(run_dir, attempts, "diff", changes.diff)


def record_text(run_dir: Path, attempts: list[dict[str, Any]], kind: str, text: str) -> None:
    """Write a text of the last attempt, if it differs from the previous one, and record the name of its file."""
    previous_name = get_provenance(attempts[-2]).get(kind) if len(attempts) > 1 else None
    previous = read_provenance_file(run_dir, previous_name)
    provenance = attempts[-1]["provenance"]
    if previous is not None and kind == "packages":
        provenance["num_changed_packages"] = count_changed_packages(previous, text)
    if text == previous:
        provenance[kind] = previous_name
        return
    number = f"_{len(attempts)}" if len(attempts) > 1 else ""
    name = f"{PROVENANCE_DIR}/{FILE_NAMES[kind].format(number)}"
    write_atomically(run_dir / name, text)
    provenance[kind] = name


def get_provenance(attempt: dict[str, Any]) -> dict[str, Any]:
    """Return the names of the files of an attempt."""
    return value if isinstance(value := attempt.get("provenance"), dict) else {}


def read_provenance_file(run_dir: Path, name: Any) -> str | None:
    """Return the contents of a file that run.json names; None if it does not exist or leads out of its directory."""
    if isinstance(name, str):
        with suppress(OSError, ValueError):
            return read_text_inside(run_dir / name, run_dir / PROVENANCE_DIR, errors="replace")
    return None


def count_changed_packages(before: str, now: str) -> int:
    """Return how many packages differ between two lists, without those whose versions are reported by name."""
    packages = parse_packages(before), parse_packages(now)
    names = {*packages[0], *packages[1]} - set(TRACKED_PACKAGES)
    return sum(packages[0].get(name) != packages[1].get(name) for name in names)


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
    provenance = get_provenance(now)
    if isinstance(count := provenance.get("num_changed_packages"), int) and count:
        changes.append(f"{count} other {'package' if count == 1 else 'packages'} ({provenance.get('packages')})")
    return changes


def format_commit(git: Any) -> str:
    """Return the short commit of `get_git_info`, with the digest of uncommitted changes."""
    if not isinstance(git, dict):
        return "none"
    return str(git.get("commit"))[:7] + (f" with changes {git.get('diff') or ''}".rstrip() if git.get("dirty") else "")
