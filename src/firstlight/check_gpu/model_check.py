"""Compare one training step of a model on the accelerator with the CPU: its loss and all gradients."""

from collections.abc import Mapping

from torch import Tensor

from firstlight.check_gpu.operator_check import describe_kernel_error, is_unsupported
from firstlight.check_gpu.results import (
    REPORT,
    CheckResult,
    Difference,
    compare_tensors,
    format_difference,
    make_result,
)
from firstlight.check_gpu.training_step import StepUnavailableError, TrainingStep

LOSS = "loss"
# Largest differences of float32, relative to the loss and to the largest value of a gradient. The layers of a network
# amplify rounding errors, e.g. batch norm over a few samples; a wrong kernel changes a gradient by much more.
LOSS_LIMIT, GRADIENT_LIMIT = 0.001, 0.02
# How many times the difference between float32 and float64 on the CPU, with other random numbers, is added to them:
# this is how much rounding errors and random numbers change this model.
SPREAD_FACTOR = 3.0
# A model that differs from itself by more cannot be compared.
MAX_SPREAD = 0.1
# A gradient that is smaller than this fraction of the largest gradient of the model is related to this fraction. The
# gradient of a bias before batch norm, for example, is 0 in exact arithmetic, and consists of rounding errors.
MIN_SCALE = 0.001
FIX = f"Train it with trainer=cpu. If no operator of it differs, {REPORT.replace('Report', 'report')}"


def check_model(name: str, accelerator: str) -> CheckResult:
    """Return how a training step of a model on the accelerator compares with the CPU, in float32 without dropout.

    Args:
        name: Option of configs/model.
        accelerator: "cuda" or "mps".

    Raises:
        ValueError: If the accelerator is the CPU, which would be compared with itself.
    """
    if accelerator == "cpu":
        raise ValueError("the accelerator of the check must not be cpu")
    try:
        step = TrainingStep(name)
        limits = find_limits(step)
    except StepUnavailableError as error:
        return CheckResult("model", name, "float32", "skipped", message=f"model={name} is skipped: {error}")
    try:
        found = step.run(accelerator, "32-true")
    except Exception as error:  # a kernel can raise anything
        reason = f"on {accelerator} ({describe_kernel_error(error)})"
        if is_unsupported(error):
            message = f"model={name} is not supported {reason}"
            return CheckResult("model", name, "float32", "unsupported", message=message)
        return CheckResult("model", name, "float32", "failed", message=f"model={name} fails {reason}", fix=FIX)
    worst, *others = compare_steps(step.reference, found, limits)
    num_others = sum(other.ratio > 1 for other in others)
    more = f"; {num_others + 1} of {len(others) + 1} compared values differ" if num_others else ""
    return make_result("model", name, "float32", worst, f"model={name}: {format_difference(worst)}{more}", FIX)


def find_limits(step: TrainingStep) -> dict[str, float]:
    """Return the largest accepted difference of the loss and of each gradient.

    Raises:
        StepUnavailableError: If the model differs too much from itself, or returns neither a loss nor gradients.
    """
    limits = {name: LOSS_LIMIT if name == LOSS else GRADIENT_LIMIT for name in step.reference}
    if not limits or not all(bool(tensor.isfinite().all()) for tensor in step.reference.values()):
        raise StepUnavailableError(
            "its step on the CPU returns no loss and no gradients, or values that are not finite"
        )
    try:
        other = step.run("cpu", "64-true", seed=1)
    except Exception:  # a module may create tensors of its own in float32
        other = step.run("cpu", "32-true", seed=1)
    spreads = compare_steps(step.reference, other, limits)
    widest = max(spreads, key=lambda spread: spread.value)
    if widest.value > MAX_SPREAD:
        raise StepUnavailableError(f"its {widest.quantity} depends on random numbers or on rounding errors")
    return {spread.quantity: limits[spread.quantity] + SPREAD_FACTOR * spread.value for spread in spreads}


def compare_steps(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], limits: Mapping[str, float]
) -> list[Difference]:
    """Return the differences of the loss and the gradients, with the largest multiple of its limit first."""
    gradients = {name: tensor for name, tensor in expected.items() if name != LOSS}
    largest = max((float(tensor.abs().max()) for tensor in gradients.values() if tensor.numel()), default=0.0)
    losses = {name: tensor for name, tensor in expected.items() if name == LOSS}
    differences = compare_tensors(losses, found, limits)
    differences += compare_tensors(gradients, found, limits, MIN_SCALE * largest)
    return sorted(differences, key=lambda difference: difference.ratio, reverse=True)
