"""Build the emulated MPS device and read its statistics.

To run any Python program on the emulated device:

    python tests/firstlight/mps_emulator/emulator.py -m firstlight.train trainer=mps

The environment variable MPS_EMULATOR_GIB limits the device's memory.
"""

import ctypes
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Hosted macOS runners have almost no MPS memory, so MPS is emulated: operators with an MPS kernel in torch's own list
# run on the CPU, and all other operators raise the same error as on a Mac. This directory can be deleted: nothing else
# depends on it.
HERE = Path(__file__).parent
# The emulator replaces two functions inside torch, so it supports only tested versions.
TORCH_VERSION = "2.15"


def get_skip_reason() -> str | None:
    """Return why the emulator cannot run on this machine, or None if it can."""
    version = importlib.metadata.version("torch")
    if sys.platform != "linux":
        return f"the MPS emulator requires Linux, but this is {sys.platform}"
    if not version.startswith(f"{TORCH_VERSION}."):
        return f"the MPS emulator requires torch {TORCH_VERSION}, but {version} is installed"
    return None if shutil.which("g++") else "the MPS emulator requires a C++ compiler; install g++"


def build_library() -> Path:
    """Return the emulator compiled for this torch version; the first call takes half a minute."""
    torch_dir = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    source = HERE / "emulator.cpp"
    key = hashlib.sha256(source.read_bytes() + importlib.metadata.version("torch").encode()).hexdigest()[:12]
    build_dir = HERE / "build"
    build_dir.mkdir(exist_ok=True)
    library = build_dir / f"emulator-{key}.so"
    with (build_dir / "lock").open("w") as lock:
        # Tests run in parallel; only the first process compiles.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            compile_library(source, torch_dir, library)
    return library


def compile_library(source: Path, torch_dir: Path, library: Path) -> None:
    """Compile the emulator against the installed torch."""
    lines = "".join(f'"{name}",\n' for name in list_mps_operators())
    (library.parent / "mps_operators.inc").write_text(lines)
    include_dir, library_dir = torch_dir / "include", torch_dir / "lib"
    command = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", "-w", str(source), "-o", f"{library}.part"]
    command += [f"-I{library.parent}", f"-I{include_dir}", f"-I{include_dir}/torch/csrc/api/include"]
    command += [f"-L{library_dir}", f"-Wl,-rpath,{library_dir}", "-ltorch_cpu", "-lc10"]
    subprocess.run(command, check=True)
    os.replace(f"{library}.part", library)


def list_mps_operators() -> list[str]:
    """Return the operators with an MPS kernel; torch's wheels for Linux and macOS contain the same list."""
    import yaml

    torchgen_dir = Path(importlib.util.find_spec("torchgen").submodule_search_locations[0])
    entries = yaml.load(
        (torchgen_dir / "packaged/ATen/native/native_functions.yaml").read_text(),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
    )
    by_name = {entry["func"].partition("(")[0]: entry for entry in entries}

    def has_kernel(entry) -> bool:
        keys = {key.strip() for group in entry.get("dispatch", {}) for key in group.split(",")}
        parent = entry.get("structured_delegate")
        return "MPS" in keys or (parent is not None and has_kernel(by_name[parent]))

    return [name for name, entry in by_name.items() if has_kernel(entry)]


def make_environment() -> dict[str, str]:
    """Return environment variables with which Python has the emulated device."""
    path = os.pathsep.join([str(HERE / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "MPS_EMULATOR": str(build_library())}


class EmulatorStats:
    """Allocations and operator calls of the emulated device in this process."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ["MPS_EMULATOR"])
        for name in ("peak", "live", "count"):
            getattr(self.library, f"mps_emulator_{name}").restype = ctypes.c_size_t
        self.library.mps_emulator_operators.restype = ctypes.c_char_p

    def get_peak_bytes(self) -> int:
        """Return the peak of the allocated bytes since the last reset."""
        return self.library.mps_emulator_peak()

    def get_allocated_bytes(self) -> int:
        """Return the currently allocated bytes."""
        return self.library.mps_emulator_live()

    def reset_peak(self) -> None:
        """Reset the peak to the currently allocated bytes."""
        self.library.mps_emulator_reset_peak()

    def count_calls(self, name: str) -> int:
        """Return how often an operator was called."""
        return self.library.mps_emulator_count(name.encode())

    def get_operators(self) -> set[str]:
        """Return the names of the called operators."""
        return set(self.library.mps_emulator_operators().decode().split())


if __name__ == "__main__":
    reason = get_skip_reason()
    if reason:
        sys.exit(reason)
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], make_environment())
