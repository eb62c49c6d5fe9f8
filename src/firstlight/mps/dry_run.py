"""Dry run of a training step for MPS: the step runs on torch's meta device, without values."""

import warnings
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.seed import isolate_rng

from firstlight.hardware.apple_chip import get_chip_name, parse_generation
from firstlight.hardware.device import GIB, get_local_mps_limit
from firstlight.model.task import Task
from firstlight.mps.dry_run_step import DryRunStep
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import HEADROOM, MemoryEstimate, format_batch_size_advice
from firstlight.mps.rules import Finding
from firstlight.mps.simulation import simulate_mps_dispatch
from firstlight.run.errors import HardwareError, describe_error
from firstlight.trainer.trainer import Trainer


# The dry run executes a step instead of looking up layers in a list, because shapes, dtypes and memory decide whether
# MPS can run an operator.
def dry_run(
    model: LightningModule, data: LightningDataModule | None, trainer: Trainer, precision: str, deterministic: bool
) -> DryRunReport:
    """Simulate training steps and validation steps on the meta device. The arguments are not modified.

    Args:
        model: Model on any device; only its structure is copied.
        data: Datamodule of which a training batch and a validation batch are read.
        trainer: Trainer whose epochs, steps and gradient clipping apply; its device is ignored.
        precision: Lightning's name of the precision, such as "bf16-mixed".
        deterministic: Whether nondeterministic operators are errors.
    """
    if precision == "64-true":
        problem = "trainer.precision=64-true requires float64, which MPS does not support"
        return DryRunReport([Finding("error", problem, "Use trainer.precision=32-true.")])
    report = DryRunReport()
    # Lightning's warnings concern the stub trainer, not the run.
    with warnings.catch_warnings(action="ignore"), isolate_rng(include_cuda=False), simulate_mps_dispatch(precision):
        try:
            step = DryRunStep(model, data, trainer, precision, deterministic)
        except Exception as error:  # a module or its data can raise anything
            report.findings.append(
                Finding("warning", f"Not checked: no batch on the meta device ({describe_error(error)})")
            )
            return report
        recorder = step.recorder
        try:
            with recorder:
                step.measure(report)
        except Exception as error:  # a model can raise anything; the rest of the step can only be checked on a Mac
            # An exception after an error finding is a consequence of that error.
            if not any(finding.kind == "error" for finding in recorder.findings):
                problem = f"MPS check stopped at {recorder.running or 'Python code'} with {describe_error(error)}"
                recorder.add_finding(Finding("warning", problem))
    report.findings, report.nondeterministic = list(recorder.findings), sorted(recorder.nondeterministic)
    return report


def check_before_training(model: LightningModule, data: LightningDataModule | None, trainer: Trainer) -> str:
    """Check a run before its first step, in one or two seconds, and return a line about the result.

    If the dry run itself fails, the line says so, and the run starts anyway.

    Raises:
        HardwareError: If MPS does not support an operation, or the batch does not fit into the memory of this Mac.
    """
    if not isinstance(model, Task) or data is None:
        # Only Lightning calls the hooks of another datamodule, and only once.
        return "not checked before training; `make preflight` with the same arguments checks the run"
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        report = dry_run(model, data, trainer, str(trainer.precision), deterministic=strict)
    except Exception as error:  # a failure of the check must not stop the run
        return f"MPS check skipped ({describe_error(error)})"
    if parse_generation(get_chip_name()) not in (1, 2):
        report.findings = [finding for finding in report.findings if not finding.is_m1_m2_only]
    if errors := report.format_messages("error"):
        raise HardwareError(f"This run would fail on MPS: {' '.join(errors)}")
    messages = report.format_messages("warning")
    if report.memory_estimate is None:
        return " ".join(messages)
    batch_size: Any = getattr(data, "batch_size", None)
    return " ".join([check_memory(report.memory_estimate, batch_size), *messages])


def check_memory(estimate: MemoryEstimate, batch_size: int) -> str:
    """Compare the estimated memory of a run with the limit of this Mac, and return a line about the result.

    Raises:
        HardwareError: If the batch does not fit into the memory of this Mac.
    """
    peak, limit = estimate.get_peak_bytes(batch_size), get_local_mps_limit()
    recommended = (limit or peak * 2) * (1 - HEADROOM)
    if limit and peak > limit:
        raise HardwareError(
            f"Estimated memory exceeds the limit: data.batch_size={batch_size} needs about {peak / GIB:.2f} GiB, but "
            f"the GPU may use {limit / GIB:.2f} GiB. {format_batch_size_advice(estimate, recommended)}"
        )
    line = f"MPS check passed; estimated memory {peak / GIB:.1f}{f' of {limit / GIB:.1f}' if limit else ''} GiB"
    if peak > recommended:
        return f"{line}, close to the limit. {format_batch_size_advice(estimate, recommended)}"
    return f"{line}."
