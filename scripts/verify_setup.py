"""Check that the locked packages and the project are installed in .venv, and nowhere else.

    .venv/bin/python -I scripts/verify_setup.py requirements/base.lock ...

Settings of pip or uv for the user or the machine (user, prefix, target, dry-run) may have led the installation
elsewhere. Only the standard library. With -I, Python does not see packages outside of .venv.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path


def read_locked_versions(text: str) -> dict[str, str]:
    """Return the version of each package that a lock file pins on every platform."""
    # A line with a marker (`; sys_platform == ...`) may not apply here.
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)\s*\\?$", text, re.MULTILINE))


def find_problems(locks: list[Path], project: str, package_dirs: list[str]) -> list[str]:
    """Return a description of each package that is missing in the directories, or has another version.

    Args:
        locks: Lock files.
        project: Name of the project, which is installed in any version.
        package_dirs: Directories with installed packages.
    """
    locked = {}
    for lock in locks:
        locked.update(read_locked_versions(lock.read_text(encoding="utf-8")))
    installed = {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in metadata.distributions(path=package_dirs)
    }
    problems = []
    for name, version in {**locked, project: ""}.items():
        found = installed.get(re.sub(r"[-_.]+", "-", name).lower())
        if found is None:
            problems.append(f"{name} is missing")
        elif version and found != version:
            problems.append(f"{name} {found} instead of {version}")
    return problems


if __name__ == "__main__":
    pyproject = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = re.findall(r'^name = "([^"]+)"', pyproject, re.MULTILINE)[0]
    found = find_problems([Path(path) for path in sys.argv[1:]], project, sys.path)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        print(
            f"setup: the installation did not reach {sys.prefix}: {', '.join(found[:3])}{more}. Remove user, prefix, "
            "target and dry-run from the settings of pip (`pip config list`, PIP_* variables) or uv (uv.toml, UV_* "
            "variables), then run `make setup` again.",
            file=sys.stderr,
        )
        sys.exit(1)
