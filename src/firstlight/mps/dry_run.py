"""Whether a training would work on MPS: a rehearsal on torch's `meta` device in its place, without numbers."""

import re
import subprocess
import sys
import warnings

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from firstlight.data.datamodule import ClassificationDataModule
from firstlight.hardware.device import GIB, get_local_mps_limit
from firstlight.model.classifier import Classifier
from firstlight.mps.dispatch import mps_dispatch
from firstlight.mps.dry_run_step import DryRunStep
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import HEADROOM, format_batch_size_advice
from firstlight.mps.rules import Finding
from firstlight.trainer.trainer import Trainer


# A step is executed, since a list of supported layers would not suffice: shapes, dtypes and memory decide whether MPS
# can run an operator, and only a step shows them.
def dry_run(
    model: Classifier, data: ClassificationDataModule, trainer: Trainer, precision: str, deterministic: bool
) -> DryRunReport:
    """Run one step of training and one of evaluation on `meta`; what was given stays as it is.

    Args:
        model: on the CPU or a device; only its structure is copied.
        data: a batch of its training and its validation set is read.
        trainer: tells epochs, steps and clipping; its device does not matter.
        precision: Lightning's name.
        deterministic: whether operators whose result varies are faults.
    """
    if precision == "64-true":
        return DryRunReport(
            [Finding("fault", "trainer.precision=64-true needs float64, which MPS lacks: choose 32-true")]
        )
    report = DryRunReport()
    # Lightning's tips are about the stand-in of the trainer, not about the training.
    with warnings.catch_warnings(action="ignore"), isolate_rng(include_cuda=False), mps_dispatch(precision):
        step = DryRunStep(model, data, trainer, precision, deterministic)
        recorder = step.recorder
        try:
            with recorder:
                step.measure(report)
        except Exception as error:  # whatever a model may raise: then only a Mac can tell
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            # An exception that follows a fault is its consequence.
            if not any(each.kind == "fault" for each in recorder.findings):
                recorder.add_finding(
                    Finding("warning", f"could not be judged: {recorder.running or 'Python'} ({reason})")
                )
    report.findings, report.nondeterministic = list(recorder.findings), sorted(recorder.nondeterministic)
    return report


def check_before_training(model: Classifier, data: ClassificationDataModule, trainer: Trainer) -> str:
    """Judge a training that is about to start, in a second or two, and return a line about it.

    It never fails by itself: what it cannot judge, it says.

    Raises:
        ValueError: MPS would refuse an operator, or the batch does not fit this Mac's memory.
    """
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        report = dry_run(model, data, trainer, str(trainer.precision), deterministic=strict)
    except Exception as error:  # a training must not end because its check did
        return f"could not be judged beforehand ({type(error).__name__}: {error})"
    if not is_m1_or_m2():
        report.findings = [each for each in report.findings if not each.early_chips]
    if faults := report.format_messages("fault"):
        raise ValueError(f"This training would fail on MPS: {'; '.join(faults)}")
    if report.memory_estimate is None:
        return "; ".join(report.format_messages("warning"))
    peak, limit = report.memory_estimate.get_peak_bytes(data.batch_size), get_local_mps_limit()
    comfortable = (limit or peak * 2) * (1 - HEADROOM)
    if limit and peak > limit:
        raise ValueError(
            f"out of memory beforehand: data.batch_size={data.batch_size} needs about {peak / GIB:.2f} GiB, but the "
            f"GPU may use {limit / GIB:.2f}: {format_batch_size_advice(report.memory_estimate, comfortable)}"
        )
    of = f" of {limit / GIB:.1f}" if limit else ""
    tight = (
        [f"that is tight: {format_batch_size_advice(report.memory_estimate, comfortable)}"]
        if peak > comfortable
        else []
    )
    rest = "".join(f"; {each}" for each in [*tight, *report.format_messages("warning")])
    return f"no fault found beforehand, training needs about {peak / GIB:.1f}{of} GiB{rest}"


def is_m1_or_m2() -> bool:
    """Say whether this is a Mac with an M1 or M2."""
    if sys.platform != "darwin":
        return False
    asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=10)
    return re.search(r"\bM[12]\b", asked.stdout) is not None
