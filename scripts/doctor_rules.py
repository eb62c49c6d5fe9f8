"""What `make doctor` makes of the facts: each rule looks at its arguments alone. Any Python from 3.9."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from doctor_facts import PACKAGES, Machine, Torch

HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
SIGNS = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


class Finding(NamedTuple):
    """What one check found; the repair is empty where all is well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    repair: str = ""


def version_of(text: str) -> tuple[int, ...]:
    """Return the first three numbers of a version: 2.15.0+cu132 is (2, 15, 0)."""
    numbers = re.findall(r"\d+", re.split(r"[^\d.]", text)[0])
    return tuple([*map(int, numbers), 0, 0, 0][:3])


def satisfies(version: str, requirement: str) -> bool:
    """Say whether a version fits a requirement such as `torch (>=2.14.0)`."""
    clauses = re.findall(r"(==|!=|>=|<=|>|<)\s*(\d[\d.]*)", requirement)
    return all(SIGNS[sign](version_of(version), version_of(bound)) for sign, bound in clauses)


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
    missing = [name for name in pins or PACKAGES if name not in installed]
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
        return Finding("packages", "warn", f"not as requirements/ pins them: {', '.join(moved)}", install)
    return Finding("packages", "ok", ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed))


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
