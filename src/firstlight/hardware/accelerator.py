"""The accelerators: which of them this machine has, and whether it has what a training asks for."""

import platform

from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator


def find_best_accelerator() -> str:
    """Return the name of the fastest accelerator that this machine has."""
    if CUDAAccelerator.is_available():
        return "cuda"
    return "mps" if MPSAccelerator.is_available() else "cpu"


def validate_accelerator(accelerator: str, precision: str) -> None:
    """Refuse an accelerator that this machine lacks, or that lacks the precision.

    Raises:
        ValueError: it is unknown or not here; the text says what to type instead.
    """
    if accelerator == "mps" and precision == "64-true":
        raise ValueError(
            "An Apple GPU has no 64-bit floats, but trainer.precision=64-true: give trainer.precision=32-true, or "
            "trainer=cpu"
        )
    here = f"this is {platform.system()} on {platform.machine()}"
    instead = f"type trainer={find_best_accelerator()}"
    if accelerator == "mps" and not MPSAccelerator.is_available():
        if platform.system() == "Darwin" and platform.machine() == "arm64":
            here = "this macOS, or this build of torch, has no MPS (macOS 15 or newer is needed)"
        elif platform.system() == "Darwin":
            here = "this Python is built for Intel: install an arm64 Python, then run `make clean setup`"
        raise ValueError(f"trainer=mps needs a Mac with an Apple GPU and an arm64 Python, but {here}: {instead}")
    if accelerator in ("cuda", "gpu") and not CUDAAccelerator.is_available():
        raise ValueError(f"trainer=cuda needs an NVIDIA GPU and its driver, but {here} without one: {instead}")
    if accelerator not in ("cpu", "mps", "cuda"):
        raise ValueError(f"trainer.accelerator is cpu, mps, cuda or auto, but it is {accelerator}: {instead}")
