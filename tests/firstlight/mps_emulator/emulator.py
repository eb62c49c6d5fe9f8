"""Build the emulated MPS device, and say what it saw.

    python tests/firstlight/mps_emulator/emulator.py -m firstlight.train trainer=mps

runs any Python program under it.

The environment variable MPS_EMULATOR_GIB limits its memory.
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

# Hosted macOS runners have next to no MPS memory, so MPS is emulated: an operator that has an MPS kernel in torch's own
# list runs on the CPU, any other raises what it raises on a Mac. Nothing else depends on this directory: it may be
# deleted.
HERE = Path(__file__).parent
# The emulator replaces two functions inside torch, so it is good for the versions it was tried with.
KNOWN = "2.15"


def why_not() -> str | None:
    """Return why the emulator cannot be here, or None if it can."""
    version = importlib.metadata.version("torch")
    if sys.platform != "linux":
        return f"the MPS emulator is for Linux, but this is {sys.platform}"
    if not version.startswith(f"{KNOWN}."):
        return f"the MPS emulator knows torch {KNOWN}, but torch is {version}"
    return None if shutil.which("g++") else "the MPS emulator needs a C++ compiler: install g++"


def library() -> Path:
    """Return the compiled emulator for this torch; the first call takes half a minute."""
    torch_folder = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    source = HERE / "emulator.cpp"
    key = hashlib.sha256(source.read_bytes() + importlib.metadata.version("torch").encode()).hexdigest()[:12]
    folder = HERE / "build"
    folder.mkdir(exist_ok=True)
    built = folder / f"emulator-{key}.so"
    with (folder / "lock").open("w") as lock:
        # Tests run side by side: the second one waits for the first.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            compile_(source, torch_folder, built)
    return built


def compile_(source: Path, torch_folder: Path, built: Path) -> None:
    """Compile the emulator against the installed torch."""
    lines = "".join(f'"{name}",\n' for name in mps_operators())
    (built.parent / "mps_operators.inc").write_text(lines)
    include, libraries = torch_folder / "include", torch_folder / "lib"
    words = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", "-w", str(source), "-o", f"{built}.part"]
    words += [f"-I{built.parent}", f"-I{include}", f"-I{include}/torch/csrc/api/include"]
    words += [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-ltorch_cpu", "-lc10"]
    subprocess.run(words, check=True)
    os.replace(f"{built}.part", built)


def mps_operators() -> list[str]:
    """Return the operators with an MPS kernel: torch's wheels for Linux and macOS hold the same list."""
    import yaml

    folder = Path(importlib.util.find_spec("torchgen").submodule_search_locations[0])
    entries = yaml.load(
        (folder / "packaged/ATen/native/native_functions.yaml").read_text(),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
    )
    by_name = {entry["func"].partition("(")[0]: entry for entry in entries}

    def has_kernel(entry) -> bool:
        keys = {key.strip() for group in entry.get("dispatch", {}) for key in group.split(",")}
        parent = entry.get("structured_delegate")
        return "MPS" in keys or (parent is not None and has_kernel(by_name[parent]))

    return [name for name, entry in by_name.items() if has_kernel(entry)]


def environment() -> dict[str, str]:
    """Return the environment in which Python has the emulated device."""
    path = os.pathsep.join([str(HERE / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "MPS_EMULATOR": str(library())}


class Seen:
    """What the emulator counted in this process."""

    def __init__(self) -> None:
        """Find the library that torch runs on."""
        self.library = ctypes.CDLL(os.environ["MPS_EMULATOR"])
        for name in ("peak", "live", "count"):
            getattr(self.library, f"mps_emulator_{name}").restype = ctypes.c_size_t
        self.library.mps_emulator_operators.restype = ctypes.c_char_p

    def peak(self) -> int:
        """Return the most bytes that were allocated since the last reset."""
        return self.library.mps_emulator_peak()

    def live(self) -> int:
        """Return the bytes that are allocated."""
        return self.library.mps_emulator_live()

    def reset_peak(self) -> None:
        """Start the peak anew."""
        self.library.mps_emulator_reset_peak()

    def count(self, name: str) -> int:
        """Return how often an operator ran."""
        return self.library.mps_emulator_count(name.encode())

    def operators(self) -> set[str]:
        """Return the operators that ran."""
        return set(self.library.mps_emulator_operators().decode().split())


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(reason)
    os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment())
