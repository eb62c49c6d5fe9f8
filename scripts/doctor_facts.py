"""Collect the facts about this machine for `make doctor`.

Only the standard library, and torch if it is installed. Runs on Python 3.9 or newer.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyproject

PACKAGES = ("torch", "torchvision", "lightning", "transformers", "hydra-core", "wandb")


class MachineInfo(NamedTuple):
    """Hardware and system; `battery` and `power_settings` are the outputs of `pmset -g batt` and `pmset -g`."""

    system: str
    release: str
    chip: str
    architecture: str
    ram_bytes: int
    translated: bool = False
    wired_limit_mb: int = 0
    battery: str = ""
    power_settings: str = ""

    @property
    def generation(self) -> int | None:
        """Generation of an Apple chip, e.g. 5 for "Apple M5 Max"; None for other chips, or without its name."""
        # hardware/apple_chip.py reads the same names, because scripts cannot import the engine.
        match = re.match(r"Apple M(\d+)\b", self.chip)
        return int(match[1]) if match else None


class TorchInfo(NamedTuple):
    """The accelerators that torch detects, or the error of its import."""

    built: bool = False
    available: bool = False
    cuda: str = ""
    recommended_bytes: int = 0
    error: str = ""


def run_command(*command: str) -> str:
    """Return the output of a command, or "" if the command does not exist, fails or takes longer than 10 s."""
    try:
        result = subprocess.run(command, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.decode(errors="replace").strip()


def read_machine(system: str) -> MachineInfo:
    """Return the hardware and the state of the operating system.

    Args:
        system: Result of `platform.system()`.
    """
    architecture = platform.machine()
    if system != "Darwin":
        names = re.findall(r"model name\s*: (.+)", run_command("cat", "/proc/cpuinfo"))
        chip = names[0] if names else platform.processor() or architecture
        # os.sysconf does not exist on Windows.
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if system == "Linux" else 0
        return MachineInfo(system, platform.release(), chip, architecture, ram)
    return MachineInfo(
        system="macOS",
        release=run_command("sw_vers", "-productVersion"),
        chip=run_command("sysctl", "-n", "machdep.cpu.brand_string"),
        architecture=architecture,
        ram_bytes=int(run_command("sysctl", "-n", "hw.memsize") or 0),
        translated=run_command("sysctl", "-n", "sysctl.proc_translated") == "1",
        wired_limit_mb=int(run_command("sysctl", "-n", "iogpu.wired_limit_mb") or 0),
        battery=run_command("pmset", "-g", "batt"),
        power_settings=run_command("pmset", "-g"),
    )


def read_versions() -> tuple[dict[str, str], str]:
    """Return the installed versions of PACKAGES, and the torch requirement of the installed torchvision."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    requirements = (metadata.requires("torchvision") or []) if "torchvision" in versions else []
    return versions, next((text for text in requirements if re.match(r"torch(?![\w-])", text)), "")


def read_pins(root: Path) -> dict[str, list[str]]:
    """Return the locked versions of each package; packages that no lock file pins are not needed and left out."""
    files = [root / f"requirements/{name}.lock" for name in ("base", *pyproject.read_selected_extras(root))]
    text = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    pins = {name: re.findall(rf"^{name}==([^\s;]+)", text, re.MULTILINE) for name in PACKAGES}
    return {name: versions for name, versions in pins.items() if versions}


def detect_torch_accelerators() -> TorchInfo:
    """Import torch, and return the accelerators that it detects."""
    try:
        import torch

        mps, recommended = torch.backends.mps, 0
        # This call starts the MPS allocator, which raises for invalid watermark ratios. check_ratios reports them.
        with contextlib.suppress(RuntimeError):
            recommended = torch.mps.recommended_max_memory() if mps.is_available() else 0
        cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        return TorchInfo(mps.is_built(), mps.is_available(), cuda, recommended)
    except Exception as error:  # A broken installation can raise any exception.
        return TorchInfo(error=" ".join(f"{type(error).__name__}: {error}".split()))


def has_api_key(variables: Mapping[str, str], home: Path) -> bool:
    """Return True if a W&B API key is set in the environment or in ~/.netrc."""
    if variables.get("WANDB_API_KEY"):
        return True
    host = urlsplit(variables.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    with contextlib.suppress(OSError, ValueError, netrc.NetrcParseError):
        file = os.path.expanduser(variables.get("NETRC") or str(home / ".netrc"))
        entry = netrc.netrc(file).authenticators(host)
        return bool(entry and entry[2])
    return False


def probe_write_access(directory: Path) -> str:
    """Create and delete a file in a directory; return the error message, or "" if the directory is writable."""
    try:
        tempfile.NamedTemporaryFile(dir=directory).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def find_setup_python(root: Path) -> str:
    """Return the Python that `make setup` would use, or "" if there is none."""
    python = run_command("sh", str(root / "scripts/find_python.sh"))
    return python or ("a Python that uv downloads" if shutil.which("uv") else "")
