"""Run all checks on the accelerator of this machine."""

import dataclasses
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO

import torch

from firstlight.check_gpu import model_check, operator_check
from firstlight.check_gpu.format_results import count_statuses, format_result
from firstlight.check_gpu.operators import OPERATORS
from firstlight.check_gpu.results import CheckResult
from firstlight.config.options import list_option_files
from firstlight.hardware.accelerator import find_best_accelerator
from firstlight.hardware.device import get_device_name, get_memory_gib, release_memory
from firstlight.run.errors import HardwareError
from firstlight.run.provenance import get_package_versions
from firstlight.trial.tuned import describe_system


def run_all_checks(
    models: Sequence[str] | None, progress: TextIO, report: Callable[[dict[str, Any]], None] = lambda entries: None
) -> dict[str, Any]:
    """Return the results of all checks as plain values.

    Args:
        models: Options of configs/model. If None, all of them.
        progress: Receives a line per check.
        report: Receives the machine, then the name of each check before its result, because a kernel may end the
            process, and then the counts.

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
    machine, checks = describe_machine(device) | {"limits": describe_limits()}, []
    report(machine)
    with use_full_precision():
        for name, check in iter_checks(models, device):
            report({"running": name})
            print(f"{name} ...", end=" ", file=progress, flush=True)
            result = check()
            print(format_result(result), file=progress, flush=True)
            checks.append(dataclasses.asdict(result))
            report(checks[-1])
            if result.kind == "model":
                release_memory()
    summary = {"seconds": time.perf_counter() - started, "counts": count_statuses(checks)}
    report(summary)
    return machine | summary | {"checks": checks}


def iter_checks(models: Sequence[str] | None, device: torch.device) -> Iterator[tuple[str, Callable[[], CheckResult]]]:
    """Yield the name of each check, and the check."""
    for case in OPERATORS:
        for dtype in case.dtypes:
            label = f"{case.name} ({str(dtype).removeprefix('torch.')})"
            yield label, partial(operator_check.check_operator, case, dtype, device)
    for name in models or list_option_files("model"):
        yield f"model={name}", partial(model_check.check_model, name, device.type)


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
    """Return the largest accepted relative differences. The limits of a model also depend on the model."""
    operators = {str(dtype).removeprefix("torch."): limit for dtype, limit in operator_check.TOLERANCES.items()}
    return operators | {"loss": model_check.LOSS_LIMIT, "gradient": model_check.GRADIENT_LIMIT}
