"""Say whether this machine can train, and how to mend what is wrong. Standard library, and torch if it is there.

    make doctor                  one line a check; the exit code is 1 if one failed
    make doctor ARGS=--json      the same as a list of {name, status, text, repair}

doctor_facts.py looks at the machine, doctor_rules.py judges. It runs before `make setup` too, on any Python from 3.9.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import doctor_facts as facts
import doctor_rules as rules
import pyproject
from doctor_rules import Finding

ROOT = Path(__file__).resolve().parents[1]


def install_command(root: Path, own: bool, conda: bool) -> str:
    """Return the command that installs what is missing; `own` says that the project's .venv runs this."""
    if conda:
        return f'pip install --upgrade --upgrade-strategy eager -e ".[{",".join(pyproject.read_extras(root))}]"'
    if not own:
        return "make setup, then make doctor"
    ready, sources = root / ".venv" / "ready", (*(root / "requirements").glob("*.lock"), root / "pyproject.toml")
    # make takes a finished .venv for good, whatever was done to its packages since.
    done = ready.exists() and all(ready.stat().st_mtime >= file.stat().st_mtime for file in sources)
    return "make clean setup" if done else "make setup"


def examine(root: Path, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield every finding; the quick ones come before torch is imported."""
    machine, (installed, torch_wanted) = facts.read_machine(platform.system()), facts.read_versions()
    conda = variables.get("CONDA_DEFAULT_ENV", "") == pyproject.read_conda_name(root) != ""
    own = conda or Path(sys.prefix).resolve() == (root / ".venv").resolve()
    install = install_command(root, own, conda)
    setup_python = "" if own else facts.read_setup_python(root)
    yield rules.judge_system(machine)
    yield rules.judge_python(machine, platform.python_version(), setup_python, install)
    # conda's environment follows pyproject.toml, not the pins.
    pins = {name: [] if conda else versions for name, versions in facts.read_pins(root).items()}
    yield rules.judge_packages(installed, pins, torch_wanted, install)
    yield from rules.judge_versions(machine, installed, install)
    torch = facts.read_torch() if "torch" in installed else None
    yield rules.judge_mps(machine, torch, install)
    yield rules.judge_memory(machine, torch)
    yield from rules.judge_variables(machine, variables)
    yield rules.judge_wandb(variables, facts.read_key(variables, Path.home()))
    places = {name: root / name if (root / name).exists() else root for name in ("logs", "data")}
    yield rules.judge_disk({name: shutil.disk_usage(place).free for name, place in places.items()})
    yield rules.judge_logs(facts.read_write_error(root / "logs"))
    yield from rules.judge_power(machine)


def report(findings: Iterable[Finding], as_json: bool) -> int:
    """Print the findings, and return the exit code."""
    kept = []
    for finding in findings:
        kept.append(finding)
        if not as_json:
            repair = f"  ->  {finding.repair}" if finding.repair else ""
            print(f"{finding.status:4}  {finding.name:9}  {finding.text}{repair}", flush=True)
    failed, warned = (sum(finding.status == status for finding in kept) for status in ("fail", "warn"))
    if as_json:
        print(json.dumps([finding._asdict() for finding in kept], indent=2))
    else:
        counts = f"{failed} failed, {warned} warning{'' if warned == 1 else 's'}"
        print("doctor:", counts if failed or warned else "all well")
    return int(failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="doctor", description="Say whether this machine can train.")
    parser.add_argument("--json", action="store_true", help="print a list of {name, status, text, repair}")
    sys.exit(report(examine(ROOT, os.environ), parser.parse_args().json))
