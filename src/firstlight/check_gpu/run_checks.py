"""Run all checks on the accelerator of this machine."""

import dataclasses
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import torch

from firstlight.check_gpu import model_check, operator_check
from firstlight.check_gpu.format_results import format_result
from firstlight.check_gpu.operators import OPERATORS
from firstlight.check_gpu.results import CheckResult
from firstlight.config.options import list_option_files
from firstlight.hardware.accelerator import find_best_accelerator
from firstlight.hardware.device import get_device_name, get_memory_gib, release_memory
from firstlight.run.errors import HardwareError
from firstlight.run.provenance import get_package_versions
from firstlight.trial.tuned import describe_system


def run_all_checks(models: Sequence[str] | None, progress: TextIO) -> dict[str, Any]:
    """Return the results of all checks as plain values.

    Args:
        models: Options of configs/model. If None, all of them.
        progress: Receives a line per check. Its beginning is written before the check, because a kernel may end the
            process.

    Raises:
        HardwareError: If this machine has no accelerator.
    """
    accelerator = find_best_accelerator()
    if accelerator == "cpu":
        raise HardwareError(
            "The GPU check requires an NVIDIA GPU or Apple silicon, but torch finds only the CPU. Run `make doctor` "
            "without gpu=true to see why."
        )
    device, started = torch.device(accelerator), time.perf_counter()
    results: list[CheckResult] = []
    with use_full_precision():
        for case in OPERATORS:
            for dtype in case.dtypes:
                print(f"{case.name} ({str(dtype).removeprefix('torch.')}) ...", end=" ", file=progress, flush=True)
                results.append(operator_check.check_operator(case, dtype, device))
                print(format_result(results[-1]), file=progress, flush=True)
        for name in models or list_option_files("model"):
            print(f"model={name} ...", end=" ", file=progress, flush=True)
            results.append(model_check.check_model(name, accelerator))
            print(format_result(results[-1]), file=progress, flush=True)
            release_memory()
    return {**describe_machine(device), "seconds": time.perf_counter() - started} | {
        "limits": describe_limits(),
        "checks": [dataclasses.asdict(result) for result in results],
    }


@contextmanager
def use_full_precision() -> Iterator[None]:
    """Context manager in which CUDA multiplies float32 with all of its bits, not as TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the date, the device, the system and the versions of the packages."""
    name, memory = get_device_name(device), round(get_memory_gib(device), 1)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": {"accelerator": device.type, "name": name, "memory_gib": memory},
        "system": {"os": describe_system()["os"], "machine": platform.machine(), "python": platform.python_version()},
        "versions": get_package_versions(),
    }


def describe_limits() -> dict[str, float]:
    """Return the largest relative differences that are no errors. Those of models also depend on the model."""
    operators = {str(dtype).removeprefix("torch."): limit for dtype, limit in operator_check.TOLERANCES.items()}
    return operators | {"loss": model_check.LOSS_LIMIT, "gradient": model_check.GRADIENT_LIMIT}
