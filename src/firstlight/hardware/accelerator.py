"""Detect the accelerators of this machine, and check that it supports the requested one."""

import platform

from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from firstlight.run.errors import ConfigError, HardwareError, invalid_value


def find_best_accelerator() -> str:
    """Return the fastest accelerator of this machine: "cuda", "mps" or "cpu"."""
    if CUDAAccelerator.is_available():
        return "cuda"
    return "mps" if MPSAccelerator.is_available() else "cpu"


def validate_accelerator(accelerator: str, precision: str) -> None:
    """Check that this machine has the accelerator, and that the accelerator supports the precision.

    Raises:
        ConfigError: If the accelerator is unknown or does not support the precision.
        HardwareError: If this machine lacks the accelerator.
    """
    if accelerator == "mps" and precision == "64-true":
        raise ConfigError(
            "MPS does not support float64, got trainer.precision=64-true. Use trainer.precision=32-true or trainer=cpu."
        )
    system, machine = platform.system(), platform.machine()
    fix = f"Use trainer={find_best_accelerator()}."
    if accelerator == "mps" and not MPSAccelerator.is_available():
        problem = f"this is {system} {machine}."
        if system == "Darwin" and machine == "arm64":
            problem = "this macOS version or torch build does not support MPS (macOS 15 or newer required)."
        elif system == "Darwin":
            problem = "this Python is built for x86_64."
            fix = f"Install an arm64 Python and run `make clean setup`, or use trainer={find_best_accelerator()}."
        raise HardwareError(f"trainer=mps requires Apple silicon and an arm64 Python, but {problem} {fix}")
    if accelerator in ("cuda", "gpu") and not CUDAAccelerator.is_available():
        raise HardwareError(f"trainer=cuda requires an NVIDIA GPU and driver, but none was found. {fix}")
    if accelerator not in ("cpu", "mps", "cuda"):
        raise ConfigError(invalid_value("trainer.accelerator", accelerator, "cpu, mps, cuda or auto", fix))
