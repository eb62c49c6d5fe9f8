"""What `make doctor` reads of this machine. Standard library, and torch if it is there; any Python from 3.9."""

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


def read_pins(root: Path) -> dict[str, list[str]]:
    """Return the versions of each package that the locks of this project pin; one that none pins is not needed."""
    files = [root / f"requirements/{name}.lock" for name in ("base", *pyproject.read_extras(root))]
    text = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    pins = {name: re.findall(rf"^{name}==([^\s;]+)", text, re.MULTILINE) for name in PACKAGES}
    return {name: versions for name, versions in pins.items() if versions}


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
