"""Check this machine and suggest fixes.

    make doctor                  print one line per check; the exit code is 1 if a check failed
    make doctor gpu=true         also compare GPU results with CPU results
    make doctor json=true        print one JSON object, whose result lists {name, status, text, fix}

doctor_facts.py collects the facts, doctor_rules.py and doctor_versions.py check them, doctor_gpu.py runs the GPU check.
Only the standard library, and torch if it is installed. Also runs before `make setup`, on Python 3.9 or newer.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import checkout
import doctor_facts as facts
import doctor_gpu
import doctor_rules as rules
import doctor_versions
import pyproject
from doctor_gpu import GpuFinding
from doctor_rules import Finding
from json_output import run_script, update_result

ROOT = Path(__file__).resolve().parents[1]


def get_install_command(root: Path, is_project_env: bool, is_conda: bool) -> str:
    """Return the command that installs missing packages.

    Args:
        root: Directory of the project.
        is_project_env: Whether this Python belongs to the project's .venv or conda environment.
        is_conda: Whether the project's conda environment is active.
    """
    if is_conda:
        return (
            f'pip install --upgrade --upgrade-strategy eager -e ".[{",".join(pyproject.read_selected_extras(root))}]"'
        )
    if not is_project_env:
        return "make setup, then make doctor"
    ready, sources = root / ".venv" / "ready", (*(root / "requirements").glob("*.lock"), root / "pyproject.toml")
    # For make, a complete .venv is up to date even if its packages were changed later.
    is_complete = ready.exists() and all(ready.stat().st_mtime >= file.stat().st_mtime for file in sources)
    return "make clean setup" if is_complete else "make setup"


def run_checks(
    root: Path, variables: Mapping[str, str], gpu_settings: Sequence[str] | None = None
) -> Iterator[Finding | GpuFinding]:
    """Yield all findings; checks without torch come first, because importing torch takes seconds.

    Args:
        root: Directory of the project.
        variables: Environment variables.
        gpu_settings: Overrides of the GPU check. If None, the GPU is not checked.
    """
    machine, (installed, torch_requirement) = facts.read_machine(platform.system()), facts.read_versions()
    is_conda = variables.get("CONDA_DEFAULT_ENV", "") == pyproject.read_conda_name(root) != ""
    is_project_env = is_conda or Path(sys.prefix).resolve() == (root / ".venv").resolve()
    install = get_install_command(root, is_project_env, is_conda)
    setup_python = "" if is_project_env else facts.find_setup_python(root)
    yield rules.check_system(machine)
    yield rules.check_python(machine, platform.python_version(), setup_python, install)
    if is_project_env:
        yield rules.check_checkout(checkout.find_problem(root), checkout.get_fix(root))
    # The conda environment is installed from pyproject.toml, not from the lock files.
    pins = {name: [] if is_conda else versions for name, versions in facts.read_pins(root).items()}
    yield rules.check_packages(installed, pins, torch_requirement, install)
    yield from rules.check_versions(machine, installed, install)
    yield from doctor_versions.check_mac_versions(machine, installed, pins.get("torch", []), install)
    torch = facts.detect_torch_accelerators() if "torch" in installed else None
    yield rules.check_mps(machine, torch, install)
    yield rules.report_memory(machine, torch)
    yield from rules.check_mps_variables(machine, variables)
    yield rules.check_wandb(variables, facts.has_api_key(variables, Path.home()))
    directories = {name: root / name if (root / name).exists() else root for name in ("logs", "data")}
    yield rules.check_disk({name: shutil.disk_usage(directory).free for name, directory in directories.items()})
    yield rules.check_logs_writable(facts.probe_write_access(root / "logs"))
    yield from rules.check_power(machine)
    if gpu_settings is not None:
        yield from doctor_gpu.run_check(root, gpu_settings, install)


def print_findings(findings: Iterable[Finding | GpuFinding]) -> int:
    """Print the findings as they arrive, add them to the result, and return the exit code."""
    results = []
    for finding in findings:
        results.append(finding)
        update_result(findings=[finding._asdict() for finding in results])
        fix = f"  ->  {finding.fix}" if finding.fix else ""
        print(f"{finding.status:4}  {finding.name:9}  {finding.text}{fix}", flush=True)
    num_failed, num_warnings = (sum(finding.status == status for finding in results) for status in ("fail", "warn"))
    counts = f"{num_failed} failed, {num_warnings} warning{'' if num_warnings == 1 else 's'}"
    print("doctor:", counts if num_failed or num_warnings else "all checks passed")
    return int(num_failed > 0)


def doctor(arguments: list[str]) -> int:
    """Check this machine, and return the exit code.

    Raises:
        ValueError: If an argument has no effect.
    """
    parser = argparse.ArgumentParser(prog="doctor", description="Check this machine and suggest fixes.")
    parser.add_argument("settings", nargs="*", help="gpu=true, and settings of the GPU check such as models=[timm]")
    gpu_settings = doctor_gpu.select_settings(parser.parse_args(arguments).settings)
    return print_findings(run_checks(ROOT, os.environ, gpu_settings))


if __name__ == "__main__":
    run_script("doctor", doctor)
