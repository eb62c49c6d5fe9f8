"""Say whether this machine can train, and how to mend what is wrong. Standard library, and torch if it is there.

    make doctor                  one line a check; the exit code is 1 if one failed
    make doctor ARGS=--json      the same as a list of {name, status, text, repair}

read_* look at the machine, judge_* only at their arguments. It runs before `make setup` too, on any Python from 3.9.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import netrc
import operator
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "lightning", "transformers", "hydra-core", "wandb")
HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
SIGNS = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


class Finding(NamedTuple):
    """What one check found; the repair is empty where all is well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    repair: str = ""


class Machine(NamedTuple):
    """Hardware and system; the last two are what `pmset -g batt` and `pmset -g` print."""

    system: str
    release: str
    chip: str
    architecture: str
    ram_bytes: int
    translated: bool = False
    wired_limit_mb: int = 0
    battery: str = ""
    power_settings: str = ""


class Torch(NamedTuple):
    """What torch says about the accelerators, or the error of its import."""

    built: bool = False
    available: bool = False
    cuda: str = ""
    recommended_bytes: int = 0
    error: str = ""


def output(*command: str) -> str:
    """Return what a command prints, or nothing if it is absent, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def version_of(text: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: 2.15.0+cu132 is (2, 15, 0)."""
    numbers = re.findall(r"\d+", re.split(r"[^\d.]", text)[0])
    return tuple([*map(int, numbers), 0, 0, 0][:3])


def satisfies(version: str, requirement: str) -> bool:
    """Say whether a version fits a requirement such as `torch (>=2.14.0)`."""
    clauses = re.findall(r"(==|!=|>=|<=|>|<)\s*(\d[\d.]*)", requirement)
    return all(SIGNS[sign](version_of(version), version_of(bound)) for sign, bound in clauses)


def read_machine(system: str) -> Machine:
    """Return the hardware and the system's state."""
    architecture = platform.machine()
    if system != "Darwin":
        names = re.findall(r"model name\s*: (.+)", output("cat", "/proc/cpuinfo"))
        chip = names[0] if names else platform.processor() or architecture
        # Windows has no sysconf.
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if system == "Linux" else 0
        return Machine(system, platform.release(), chip, architecture, ram)
    return Machine(
        system="macOS",
        release=output("sw_vers", "-productVersion"),
        chip=output("sysctl", "-n", "machdep.cpu.brand_string"),
        architecture=architecture,
        ram_bytes=int(output("sysctl", "-n", "hw.memsize") or 0),
        translated=output("sysctl", "-n", "sysctl.proc_translated") == "1",
        wired_limit_mb=int(output("sysctl", "-n", "iogpu.wired_limit_mb") or 0),
        battery=output("pmset", "-g", "batt"),
        power_settings=output("pmset", "-g"),
    )


def read_versions() -> tuple[dict[str, str], str]:
    """Return the versions of the packages that this Python has, and the torch that its torchvision asks for."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    requirements = (metadata.requires("torchvision") or []) if "torchvision" in found else []
    return found, next((text for text in requirements if re.match(r"torch(?![\w-])", text)), "")


def read_pins(lock: Path) -> dict[str, list[str]]:
    """Return the versions of each package in requirements.lock."""
    text = lock.read_text() if lock.exists() else ""
    return {name: re.findall(rf"^{name}==([^\s;]+)", text, re.MULTILINE) for name in PACKAGES}


def read_torch() -> Torch:
    """Import torch and ask it."""
    try:
        import torch

        mps, recommended = torch.backends.mps, 0
        # The allocator starts here and refuses ratios that do not fit: judge_ratios says which.
        with contextlib.suppress(RuntimeError):
            recommended = torch.mps.recommended_max_memory() if mps.is_available() else 0
        cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        return Torch(mps.is_built(), mps.is_available(), cuda, recommended)
    except Exception as error:  # whatever a broken installation raises
        return Torch(error=" ".join(f"{type(error).__name__}: {error}".split()))


def read_key(variables: Mapping[str, str], home: Path) -> bool:
    """Say whether W&B has a key, in the environment or in ~/.netrc."""
    if variables.get("WANDB_API_KEY"):
        return True
    host = urlsplit(variables.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    with contextlib.suppress(OSError, ValueError, netrc.NetrcParseError):
        file = os.path.expanduser(variables.get("NETRC") or str(home / ".netrc"))
        entry = netrc.netrc(file).authenticators(host)
        return bool(entry and entry[2])
    return False


def read_write_error(folder: Path) -> str:
    """Create and delete a file in a folder; return why that failed, or nothing."""
    try:
        tempfile.NamedTemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def read_setup_python(root: Path) -> str:
    """Return the Python that `make setup` would take, or nothing."""
    found = output("sh", str(root / "scripts/find_python.sh"))
    return found or ("one that uv fetches" if shutil.which("uv") else "")


def install_command(root: Path, own: bool, conda: bool) -> str:
    """Return the command that installs what is missing; `own` says that the project's .venv runs this."""
    if conda:
        return 'pip install --upgrade --upgrade-strategy eager -e ".[samples,hub,dev]"'
    if not own:
        return "make setup, then make doctor"
    ready, sources = root / ".venv" / "ready", (root / "requirements.lock", root / "pyproject.toml")
    # make takes a finished .venv for good, whatever was done to its packages since.
    done = ready.exists() and all(ready.stat().st_mtime >= file.stat().st_mtime for file in sources)
    return "make clean setup" if done else "make setup"


def judge_system(machine: Machine) -> Finding:
    """Judge the chip and the system's version."""
    text = f"{machine.system} {machine.release}, {machine.chip}"
    if machine.system != "macOS":
        return Finding("system", "ok", f"{text} (MPS needs a Mac)")
    if machine.chip.startswith("Intel"):
        return Finding("system", "fail", f"{text}: torch left Intel Macs after 2.2", "train on an Apple chip or Linux")
    # torch 2.15 installs from macOS 14 on, but its MPS kernels want 15.
    if machine.release and version_of(machine.release) < (15, 0, 0):
        return Finding("system", "fail", f"{text}: MPS needs macOS 15 or newer", "update macOS")
    return Finding("system", "ok", text)


def judge_python(machine: Machine, version: str, setup_python: str, install: str) -> Finding:
    """Judge the running Python; `setup_python` is the one that setup would take instead."""
    text = f"{version}, {machine.architecture}"
    # A translated process may also be known by its chip, which is no Intel.
    if machine.translated or (machine.architecture == "x86_64" and "Apple" in machine.chip):
        repair = "install an arm64 Python (with conda: its arm64 installer), then make clean setup"
        return Finding("python", "fail", f"{text}, translated by Rosetta, which hides the GPU", repair)
    if (3, 11) <= version_of(version)[:2] <= (3, 13):
        return Finding("python", "ok", text)
    if setup_python:
        return Finding("python", "warn", f"{text}, runs only this check: setup takes {setup_python}", install)
    repair = "install Python 3.12 or uv, then make clean setup"
    return Finding("python", "fail", f"{text}, but the project needs 3.11, 3.12 or 3.13", repair)


def judge_packages(
    installed: Mapping[str, str], pins: Mapping[str, list[str]], torch_wanted: str, install: str
) -> Finding:
    """Judge whether all is installed, as it is pinned, and torch and torchvision are a pair."""
    missing = [name for name in PACKAGES if name not in installed]
    if missing:
        return Finding("packages", "fail", f"the project's packages are not installed: {', '.join(missing)}", install)
    if not satisfies(installed["torch"], torch_wanted):
        text = f"torchvision {installed['torchvision']} needs {torch_wanted}, not {installed['torch']}"
        return Finding("packages", "fail", text, install)
    moved = [
        f"{name} {installed[name]} instead of {' or '.join(pins[name])}"
        for name in PACKAGES
        if pins.get(name) and installed[name].split("+")[0] not in pins[name]
    ]
    if moved:
        return Finding("packages", "warn", f"not as requirements.lock has them: {', '.join(moved)}", install)
    return Finding("packages", "ok", ", ".join(f"{name} {installed[name]}" for name in PACKAGES))


def judge_versions(machine: Machine, installed: Mapping[str, str], install: str) -> Iterator[Finding]:
    """Yield the known faults of the versions that are installed, if they have any."""
    torch, lightning = installed.get("torch", "999"), installed.get("lightning", "999")
    if machine.system == "macOS" and version_of(torch) < (2, 14, 0):
        if re.search(r"\bM[12]\b", machine.chip):
            text = f"torch {torch} multiplies matrices wrongly on M1 and M2 where the inner size is above 32768"
            yield Finding("versions", "fail", text, install)
        text = f"torch {torch} gets batch norm's gradient wrong on MPS under channels_last"
        yield Finding("versions", "warn", text, install)
    if lightning in ("2.6.2", "2.6.3"):
        repair = f"{install}; renew every password and key that this machine knows"
        yield Finding("versions", "fail", f"lightning {lightning} was a malicious upload", repair)
    if machine.system == "macOS" and version_of(lightning) < (2, 6, 0):
        yield Finding("versions", "warn", f"lightning {lightning} has no mixed precision on MPS", install)


def judge_mps(machine: Machine, torch: Torch | None, install: str) -> Finding:
    """Judge whether torch reaches the GPU; torch is None where it is not installed."""
    if torch is None:
        return Finding("mps", "warn", "cannot be checked: torch is not installed", install)
    if torch.error:
        return Finding("mps", "fail", f"torch cannot be imported: {torch.error}", install)
    if machine.system != "macOS":
        return Finding("mps", "ok", f"not here; accelerators found: {torch.cuda or 'none'}")
    if not torch.built:
        return Finding("mps", "fail", "this torch was built without MPS", install)
    if not torch.available:
        repair = "update macOS; a virtual Mac may have no GPU: there, train with trainer=cpu"
        return Finding("mps", "fail", "torch has MPS, but finds no GPU for it", repair)
    return Finding("mps", "ok", "built and available")


def judge_memory(machine: Machine, torch: Torch | None) -> Finding:
    """Tell how much memory there is, and how much of it the GPU should use at most."""
    text = f"{machine.ram_bytes / 2**30:.1f} GiB RAM" if machine.ram_bytes else "RAM unknown"
    if torch and torch.recommended_bytes:
        text += f", {torch.recommended_bytes / 2**30:.1f} GiB recommended for the GPU"
    if machine.wired_limit_mb:
        text += f", iogpu.wired_limit_mb={machine.wired_limit_mb}"
    return Finding("memory", "ok", text)


def judge_ratios(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the fault of the ratios that limit MPS's memory, if there is one."""
    given = {name: variables[name] for name in (HIGH, LOW) if name in variables}
    text = ", ".join(f"{name}={value}" for name, value in given.items())
    try:
        # Training sets what is missing so that it fits: to 1.0 and nine tenths of the other.
        low = float(given.get(LOW, 0))
        high = float(given.get(HIGH, max(low, 1)))
    except ValueError:
        high = low = float("nan")
    # A high of 0 means no limit; no comparison with nan is true.
    if not 0 <= low <= (high or 2) <= 2:
        yield Finding("variables", "fail", f"{text}: MPS wants numbers, 0 <= low <= high <= 2", f"unset {HIGH} {LOW}")
    elif high == 0 or high > 1:
        yield Finding("variables", "warn", f"{text}: too large a batch swaps, with no error", f"unset {HIGH} {LOW}")


def judge_variables(machine: Machine, variables: Mapping[str, str]) -> list[Finding]:
    """Judge the environment variables that change what MPS does."""
    if machine.system != "macOS":
        return [Finding("variables", "ok", "those of MPS have no effect here")]
    faults = list(judge_ratios(variables))
    if variables.get("PYTORCH_ENABLE_MPS_FALLBACK", "0") not in ("", "0"):
        text = "PYTORCH_ENABLE_MPS_FALLBACK: operators without MPS run on the CPU, silently after one warning"
        faults.append(Finding("variables", "warn", text, "unset PYTORCH_ENABLE_MPS_FALLBACK"))
    if variables.get("DISABLE_MPS") == "1":
        faults.append(Finding("variables", "warn", "DISABLE_MPS=1: Lightning ignores the GPU", "unset DISABLE_MPS"))
    return faults or [Finding("variables", "ok", "none that would hinder MPS")]


def judge_wandb(variables: Mapping[str, str], key: bool) -> Finding:
    """Tell where runs go; to have no key is a choice, not a fault."""
    mode = variables.get("WANDB_MODE")
    text = "logged in" if key else "no key: runs are kept offline, until `wandb login`"
    return Finding("wandb", "ok", f"WANDB_MODE={mode}" if mode else text)


def judge_disk(free_bytes: Mapping[str, int]) -> Finding:
    """Judge the space that is free at each folder."""
    text = ", ".join(f"{size / 1e9:.1f} GB free at {folder}/" for folder, size in free_bytes.items())
    least = min(free_bytes.values())
    if least >= 20e9:
        return Finding("disk", "ok", text)
    repair = "delete old runs or downloads, or link the folder to a larger disk"
    return Finding("disk", "warn" if least >= 2e9 else "fail", text, repair)


def judge_logs(error: str) -> Finding:
    """Judge whether runs can be written."""
    if error:
        return Finding("logs", "fail", f"cannot be written: {error}", "mkdir -p logs && chmod u+rwx logs")
    return Finding("logs", "ok", "can be written")


def judge_power(machine: Machine) -> list[Finding]:
    """Judge what slows a Mac down; say nothing where the system does not tell its power source."""
    faults = []
    if "'Battery Power'" in machine.battery:
        faults.append(Finding("power", "warn", "on battery, which may be slower", "plug in the charger"))
    if re.search(r"\b(low)?powermode\s+1\b", machine.power_settings):
        repair = "turn off Low Power Mode in System Settings"
        faults.append(Finding("power", "warn", "in low power mode, which is slower", repair))
    fine = [Finding("power", "ok", "on mains, at full speed")] if machine.battery else []
    return faults or fine


def examine(root: Path, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Yield every finding; the quick ones come before torch is imported."""
    machine, (installed, torch_wanted) = read_machine(platform.system()), read_versions()
    conda = variables.get("CONDA_DEFAULT_ENV") == "firstlight"
    own = conda or Path(sys.prefix).resolve() == (root / ".venv").resolve()
    install = install_command(root, own, conda)
    setup_python = "" if own else read_setup_python(root)
    yield judge_system(machine)
    yield judge_python(machine, platform.python_version(), setup_python, install)
    # conda's environment follows pyproject.toml, not the pins.
    yield judge_packages(installed, {} if conda else read_pins(root / "requirements.lock"), torch_wanted, install)
    yield from judge_versions(machine, installed, install)
    torch = read_torch() if "torch" in installed else None
    yield judge_mps(machine, torch, install)
    yield judge_memory(machine, torch)
    yield from judge_variables(machine, variables)
    yield judge_wandb(variables, read_key(variables, Path.home()))
    places = {name: root / name if (root / name).exists() else root for name in ("logs", "data")}
    yield judge_disk({name: shutil.disk_usage(place).free for name, place in places.items()})
    yield judge_logs(read_write_error(root / "logs"))
    yield from judge_power(machine)


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
