"""Read settings from pyproject.toml and environment.yml. Standard library only, Python 3.9 or newer.

    python scripts/pyproject.py locks     print the lock files that `make setup` installs, one per line

The standard library has a TOML parser only since Python 3.11. This parser supports tables and lists of plain strings.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT_TABLE = "tool.firstlight"


def read_table(root: Path, name: str) -> str:
    """Return the lines of a table such as [project], without comments, or "" if the table does not exist."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(rf"^\[{re.escape(name)}\][^\n]*\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    return re.sub(r"(?m)(^|\s)#.*$", "", match.group(1)) if match else ""


def read_selected_extras(root: Path = ROOT) -> list[str]:
    """Return the extras that `make setup` installs: `extras` in [tool.firstlight]."""
    match = re.search(r"^extras\s*=\s*\[(.*?)\]", read_table(root, CHECKOUT_TABLE), re.MULTILINE | re.DOTALL)
    return [first or second for first, second in re.findall(r'"([^"]*)"|\'([^\']*)\'', match.group(1) if match else "")]


def read_known_extras(root: Path = ROOT) -> list[str]:
    """Return the names of all extras, in the order of pyproject.toml."""
    return re.findall(r"^([\w.-]+)\s*=", read_table(root, "project.optional-dependencies"), re.MULTILINE)


def read_minimum_python(root: Path = ROOT) -> str:
    """Return the minimum Python version of the project, such as 3.11."""
    match = re.search(r"^requires-python\s*=\s*\"\s*>=\s*([\d.]+)", read_table(root, "project"), re.MULTILINE)
    return match.group(1) if match else "3.11"


def read_conda_name(root: Path = ROOT) -> str:
    """Return the name of the conda environment in environment.yml, or "" if there is no such file."""
    file = root / "environment.yml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    match = re.search(r"^name:[ \t]*([^\s#]+)", text, re.MULTILINE)
    return match.group(1) if match else ""


def get_required_lock_files(root: Path = ROOT) -> list[Path]:
    """Return the lock files of the base and of this project's extras.

    Raises:
        ValueError: If an extra has no lock file.
    """
    known, files = read_known_extras(root), [root / "requirements/base.lock"]
    for extra in read_selected_extras(root):
        files.append(root / f"requirements/{extra}.lock")
        if extra not in known:
            raise ValueError(
                f"Unknown extra {extra!r} in `extras` of [tool.firstlight] in pyproject.toml. "
                f"Available: {', '.join(known)}."
            )
    for file in files:
        if not file.exists():
            raise ValueError(f"{file.relative_to(root).as_posix()} does not exist. Run `make lock`, which requires uv.")
    return files


if __name__ == "__main__":
    try:
        assert sys.argv[1:] == ["locks"], __doc__
        print("\n".join(file.relative_to(ROOT).as_posix() for file in get_required_lock_files()))
    except ValueError as error:
        sys.exit(f"setup: {error}")
