"""Check that the environment belongs to this checkout: after `cp -r` or `mv`, it still names the old directory.

    python scripts/checkout.py      exit with 1 and one line if it does not

Only the standard library. Runs on Python 3.9 or newer, with the Python of the environment.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_problem(root: Path) -> str:
    """Return which package of src/ this Python does not import from a checkout, or "" if there is none."""
    # `python scripts/checkout.py` does not search the working directory, and neither does make.
    for file in sorted((root / "src").glob("*/__init__.py")):
        spec = find_spec(file.parent.name)
        if spec is None or not spec.origin:
            return f"{file.parent.name} is not installed in {sys.prefix}"
        if Path(spec.origin).resolve() != file.resolve():
            return f"{file.parent.name} is imported from {Path(spec.origin).parent} instead of {file.parent}"
    return ""


def get_fix(root: Path) -> str:
    """Return the command that makes this Python import the sources of a checkout."""
    if os.environ.get("PYTHONPATH"):
        return f"unset PYTHONPATH, or set it to {root / 'src'}"
    if os.environ.get("CONDA_PREFIX") == sys.prefix:
        return "pip install --no-deps -e ."
    return "make clean setup, because the environment was probably copied or moved with its checkout"


if __name__ == "__main__":
    problem = find_problem(ROOT)
    if problem:
        print(f"make: {problem}. Fix: {get_fix(ROOT)}.", file=sys.stderr)
        sys.exit(1)
