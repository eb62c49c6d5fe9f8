"""Check the facts that `make doctor` collected: each function depends only on its arguments.

Only the standard library. Runs on Python 3.9 or newer.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from doctor_facts import PACKAGES, MachineInfo, TorchInfo

# Limits of the MPS allocator, as a fraction of the recommended GPU memory.
HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
# Apple chips are known up to M5.
NEWEST_GENERATION = 5
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Finding(NamedTuple):
    """Result of one check; `fix` is empty if the status is "ok"."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    fix: str = ""


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, e.g. (2, 15, 0) for 2.15.0+cu132."""
    numbers = re.findall(r"\d+", re.split(r"[^\d.]", text)[0])
    return tuple([*map(int, numbers), 0, 0, 0][:3])


def satisfies(version: str, requirement: str) -> bool:
    """Return True if a version satisfies a requirement such as `torch (>=2.14.0)`."""
    clauses = re.findall(r"(==|!=|>=|<=|>|<)\s*(\d[\d.]*)", requirement)
    return all(OPERATORS[symbol](parse_version(version), parse_version(bound)) for symbol, bound in clauses)


def check_system(machine: MachineInfo) -> Finding:
    """Check the chip and the version of the operating system."""
    text = f"{machine.system} {machine.release}, {machine.chip}"
    if machine.system != "macOS":
        return Finding("system", "ok", f"{text} (MPS requires a Mac)")
    if machine.chip.startswith("Intel"):
        text += ": torch 2.2 was the last version for Intel Macs"
        return Finding("system", "fail", text, "use a Mac with Apple silicon, or Linux")
    if (machine.generation or 0) > NEWEST_GENERATION:
        text += f" (newer than the known chips, M1 to M{NEWEST_GENERATION}: `make tune` finds its fastest settings)"
    return Finding("system", "ok", text)


def check_python(machine: MachineInfo, version: str, setup_python: str, install: str) -> Finding:
    """Check the running Python; `setup_python` is the Python that `make setup` would use instead."""
    text = f"{version}, {machine.architecture}"
    # An x86_64 Python on Apple silicon also runs translated, even if sysctl does not report it.
    if machine.translated or (machine.architecture == "x86_64" and "Apple" in machine.chip):
        fix = "install an arm64 Python (with conda: its arm64 installer), then run `make clean setup`"
        return Finding("python", "fail", f"{text}, translated by Rosetta, which hides the GPU", fix)
    if (3, 11) <= parse_version(version)[:2] <= (3, 14):
        return Finding("python", "ok", text)
    if setup_python:
        text += f" (used only for this check; `make setup` will use {setup_python})"
        return Finding("python", "warn", text, install)
    fix = "install Python 3.12 or uv, then run `make clean setup`"
    return Finding("python", "fail", f"{text}, but the project requires Python 3.11 to 3.14", fix)


def check_checkout(problem: str, fix: str) -> Finding:
    """Check that the environment imports the sources of this checkout; `problem` is empty if it does."""
    if problem:
        return Finding("checkout", "fail", problem, fix)
    return Finding("checkout", "ok", "the environment belongs to this checkout")


def check_packages(
    installed: Mapping[str, str], pins: Mapping[str, list[str]], torch_requirement: str, install: str
) -> Finding:
    """Check that all packages are installed in the locked versions, and that torch and torchvision match."""
    missing = [name for name in pins or PACKAGES if name not in installed]
    if missing:
        return Finding("packages", "fail", f"not installed: {', '.join(missing)}", install)
    if not satisfies(installed["torch"], torch_requirement):
        text = f"torchvision {installed['torchvision']} requires {torch_requirement}, found {installed['torch']}"
        return Finding("packages", "fail", text, install)
    changed = [
        f"{name} {installed[name]} instead of {' or '.join(pins[name])}"
        for name in PACKAGES
        if pins.get(name) and installed[name].split("+")[0] not in pins[name]
    ]
    if changed:
        text = f"differs from the lock files in requirements/: {', '.join(changed)}"
        return Finding("packages", "warn", text, install)
    return Finding("packages", "ok", ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed))


def check_versions(machine: MachineInfo, installed: Mapping[str, str], install: str) -> Iterator[Finding]:
    """Yield the known problems of installed versions, except torch on Macs, which doctor_versions.py checks."""
    lightning = installed.get("lightning", "999")
    if lightning in ("2.6.2", "2.6.3"):
        fix = f"{install}, then rotate all credentials stored on this machine"
        yield Finding("versions", "fail", f"lightning {lightning} is a known malicious release", fix)
    if machine.system == "macOS" and parse_version(lightning) < (2, 6, 0):
        yield Finding("versions", "warn", f"lightning {lightning} does not support mixed precision on MPS", install)


def check_mps(machine: MachineInfo, torch: TorchInfo | None, install: str) -> Finding:
    """Check that torch can use the GPU; `torch` is None if torch is not installed."""
    if torch is None:
        return Finding("mps", "warn", "not checked: torch is not installed", install)
    if torch.error:
        return Finding("mps", "fail", f"torch cannot be imported: {torch.error}", install)
    if machine.system != "macOS":
        return Finding("mps", "ok", f"not available on this platform; accelerators found: {torch.cuda or 'none'}")
    if not torch.built:
        return Finding("mps", "fail", "this torch was built without MPS", install)
    if not torch.available:
        fix = "update macOS; virtual machines may have no GPU, use trainer=cpu there"
        return Finding("mps", "fail", "MPS is built in, but no GPU was found", fix)
    return Finding("mps", "ok", "built and available")


def report_memory(machine: MachineInfo, torch: TorchInfo | None) -> Finding:
    """Report the memory, and the maximum that Metal recommends for the GPU."""
    text = f"{machine.ram_bytes / 2**30:.1f} GiB RAM" if machine.ram_bytes else "RAM unknown"
    if torch and torch.recommended_bytes:
        text += f", {torch.recommended_bytes / 2**30:.1f} GiB recommended for the GPU"
    if machine.wired_limit_mb:
        text += f", iogpu.wired_limit_mb={machine.wired_limit_mb}"
    return Finding("memory", "ok", text)


def check_watermark_ratios(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Check the watermark ratios, which limit the memory of MPS."""
    ratios = {name: variables[name] for name in (HIGH, LOW) if name in variables}
    text = ", ".join(f"{name}={value}" for name, value in ratios.items())
    try:
        # A training run sets a missing ratio: HIGH to 1.0, or to LOW if that is larger, and LOW to 0.9 of HIGH.
        low = float(ratios.get(LOW, 0))
        high = float(ratios.get(HIGH, max(low, 1)))
    except ValueError:
        high = low = float("nan")
    # HIGH=0 disables the limit. Comparisons with nan are false.
    if not 0 <= low <= (high or 2) <= 2:
        text += ": expected numbers with 0 <= low <= high <= 2"
        yield Finding("variables", "fail", text, f"unset {HIGH} {LOW}")
    elif high == 0 or high > 1:
        text += ": oversized batches will swap instead of raising an error"
        yield Finding("variables", "warn", text, f"unset {HIGH} {LOW}")


def check_mps_variables(machine: MachineInfo, variables: Mapping[str, str]) -> list[Finding]:
    """Check the environment variables that affect MPS."""
    if machine.system != "macOS":
        return [Finding("variables", "ok", "not applicable on this platform")]
    findings = list(check_watermark_ratios(variables))
    if variables.get("PYTORCH_ENABLE_MPS_FALLBACK", "0") not in ("", "0"):
        text = "PYTORCH_ENABLE_MPS_FALLBACK: unsupported operators run on the CPU, with only one warning"
        findings.append(Finding("variables", "warn", text, "unset PYTORCH_ENABLE_MPS_FALLBACK"))
    if variables.get("DISABLE_MPS") == "1":
        findings.append(Finding("variables", "warn", "DISABLE_MPS=1: Lightning ignores the GPU", "unset DISABLE_MPS"))
    return findings or [Finding("variables", "ok", "no conflicting environment variables")]


def check_wandb(variables: Mapping[str, str], has_api_key: bool) -> Finding:
    """Report the W&B mode; a missing API key is not a problem, because runs are then stored offline."""
    mode = variables.get("WANDB_MODE")
    text = "logged in" if has_api_key else "no API key: runs are stored offline until you run `wandb login`"
    return Finding("wandb", "ok", f"WANDB_MODE={mode}" if mode else text)


def check_disk(free_bytes: Mapping[str, int]) -> Finding:
    """Check the free disk space for each directory."""
    text = ", ".join(f"{size / 1e9:.1f} GB free for {directory}/" for directory, size in free_bytes.items())
    smallest = min(free_bytes.values())
    if smallest >= 20e9:
        return Finding("disk", "ok", text)
    fix = "delete old runs or downloads, or link the directory to a larger disk"
    return Finding("disk", "warn" if smallest >= 2e9 else "fail", text, fix)


def check_logs_writable(error: str) -> Finding:
    """Check that the directory for runs is writable."""
    if error:
        return Finding("logs", "fail", f"not writable: {error}", "mkdir -p logs && chmod u+rwx logs")
    return Finding("logs", "ok", "writable")


def check_power(machine: MachineInfo) -> list[Finding]:
    """Check for battery and low-power mode; return no finding if the power source is unknown."""
    findings = []
    if "'Battery Power'" in machine.battery:
        findings.append(Finding("power", "warn", "on battery: performance may be reduced", "connect the charger"))
    if re.search(r"\b(low)?powermode\s+1\b", machine.power_settings):
        fix = "turn off Low Power Mode in System Settings"
        findings.append(Finding("power", "warn", "Low Power Mode: performance is reduced", fix))
    on_ac_power = [Finding("power", "ok", "on AC power")] if machine.battery else []
    return findings or on_ac_power
