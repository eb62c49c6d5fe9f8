"""Each command in AGENTS.md works in a copy of the checkout, also after it became a project."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT, ROOT
from support.checkout_copy import commit, copy_checkout, run_make
from support.doc_commands import iter_blocks, template_only

# The installation of the dependencies, and the commands that need minutes.
LONG = ("make test ", "make check")
COMMANDS = [line for block in iter_blocks("bash", [ROOT / "AGENTS.md"]) for line in block.splitlines()]


def run_command(root: Path, line: str) -> subprocess.CompletedProcess:
    """Run a command of AGENTS.md with this Python, without an installation."""
    words = shlex.split(line)
    if words[0] == "make":
        words[1:1] = ["--no-print-directory", f"PYTHON={sys.executable}", "READY="]
    else:
        words[0] = sys.executable
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"PYTHONPATH": str(root / "src"), "FIRSTLIGHT_CONFIG_PATH": ""}
    return subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)


def check_command(root: Path, line: str, run_dir: str) -> str:
    """Run a command, check its output, and return its run directory, or else the given one."""
    done = run_command(root, line.replace("logs/train/<run>", run_dir))
    if "json=true" not in line:
        assert done.returncode == 0, f"{line}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return run_dir
    printed = json.loads(done.stdout)
    # The findings of `make doctor` depend on the machine.
    assert printed["exit_code"] == 0 or printed["command"] == "doctor", f"{line}: {done.stderr[-3000:]}"
    assert printed["result"]
    return printed["result"].get("run_dir", run_dir)


def test_every_command_has_json_or_runs_tests():
    assert [line for line in COMMANDS if "json=true" not in line and "pytest" not in line and "make" not in line] == []
    assert len(COMMANDS) > 10


@template_only
@pytest.mark.exhaustive
def test_commands_work_in_a_project(tmp_path):
    copy = copy_checkout(tmp_path)
    run_make(copy, "init", "name=zephyr", "keep=none")
    commit(copy)
    text = (copy / "AGENTS.md").read_text()
    run_dir = ""

    assert text.count("src/zephyr/") == (ROOT / "AGENTS.md").read_text().count(f"src/{PROJECT.name}/") > 0
    assert PROJECT.name not in text
    for line in COMMANDS:
        if not line.startswith(LONG):
            run_dir = check_command(copy, line, run_dir)
    assert len(list((copy / "logs" / "train").iterdir())) == 2


@template_only
@pytest.mark.exhaustive
def test_long_commands_work(tmp_path):
    copy = copy_checkout(tmp_path)
    for line in COMMANDS:
        if line.startswith(LONG):
            check_command(copy, line, "")


def test_examples_are_not_mentioned():
    text = (ROOT / "AGENTS.md").read_text()
    examples = [file.stem for file in PROJECT.glob("*/*.py") if file.stem != "__init__"]

    assert [name for name in examples if re.search(rf"\b{name}\b", text)] == []
