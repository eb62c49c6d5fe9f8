"""Run commands of the Makefile."""

import ast
import os
import subprocess
from pathlib import Path

from support.checkout import ROOT


def run_make(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run make in a directory, outside of any conda environment."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    command = ["make", "--no-print-directory", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**inherited, **variables})


def forward_arguments(python: Path, *arguments: str, **variables: str) -> list[str]:
    """Return the arguments that a command of the Makefile receives."""
    command = ["make", "--no-print-directory", "-C", str(ROOT), "READY=", f"PYTHON={python}", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, capture_output=True, text=True, env={**environment, **variables})
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)
