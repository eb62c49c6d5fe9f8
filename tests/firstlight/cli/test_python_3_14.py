"""The configuration part runs on Python 3.14: Pyodide is CPython 3.14 as WebAssembly, without torch and processes."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.checkout import ROOT

PYODIDE_DIR = ROOT / ".pyodide" / "node_modules" / "pyodide"
RUNNER = ROOT / "tests" / "firstlight" / "support" / "pyodide_pytest.mjs"
COMPOSED_COMMANDS = "tests/firstlight/cli/test_composed_commands.py"
ERROR_MESSAGES = ["tests/firstlight/cli/test_command.py", "tests/firstlight/cli/test_errors.py"]
CONFIGS = ["tests/firstlight/config/test_compose.py", "tests/firstlight/config/test_overrides.py"]
# Tests that import torch or start a process or a thread, which Pyodide does not support.
UNSUPPORTED = "late_user_error or internal_error or missing_accelerator or import_torch or closed_pipe"
WITHOUT_WORKAROUND = """
import contextlib
import firstlight.cli.command
firstlight.cli.command.accept_lazy_help = contextlib.nullcontext
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="requires Node.js"),
    pytest.mark.skipif(
        not PYODIDE_DIR.is_dir(), reason="requires Pyodide: npm install --prefix .pyodide pyodide@314.0.7"
    ),
]


def run_pytest_on_pyodide(directory: Path, *arguments: str, prelude: str = "") -> subprocess.CompletedProcess:
    packages = sysconfig.get_path("purelib")
    command = ["node", RUNNER, PYODIDE_DIR, ROOT, packages, directory, prelude, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_commands_compose_and_reject_configs_on_python_3_14(tmp_path):
    selection = ["-m", "not slow and not exhaustive", "-k", f"not ({UNSUPPORTED})"]
    done = run_pytest_on_pyodide(tmp_path, COMPOSED_COMMANDS, *ERROR_MESSAGES, *CONFIGS, *selection)

    assert done.returncode == 0, done.stdout
    assert "Python 3.14." in done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) >= 50
    assert " skipped" not in done.stdout


def test_commands_fail_without_the_workaround_for_argparse(tmp_path):
    done = run_pytest_on_pyodide(tmp_path, COMPOSED_COMMANDS, prelude=WITHOUT_WORKAROUND)

    # If they pass, Hydra no longer needs `accept_lazy_help`.
    assert done.returncode == 1, done.stdout
    failed = re.search(r"(\d+) failed", done.stdout)
    assert failed is not None
    assert " passed" not in done.stdout
    assert done.stdout.count("ValueError: badly formed help string") >= int(failed.group(1))
