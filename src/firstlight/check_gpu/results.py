"""The result of one check, as it is printed and recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from firstlight.trial.difference import find_difference

Kind = Literal["operator", "model"]
# What to do about a difference without a known reason.
REPORT = "Report it to PyTorch, with the output of `make doctor gpu=true json=true`."
Status = Literal["equal", "different", "failed", "unsupported", "skipped"]


@dataclass(frozen=True)
class Difference:
    """A difference between the accelerator and the CPU, relative to the largest value of the CPU."""

    quantity: str
    value: float
    limit: float

    @property
    def ratio(self) -> float:
        """The difference in multiples of its limit."""
        return self.value / self.limit


@dataclass(frozen=True)
class CheckResult:
    """How an operator or a model on the accelerator compares with the CPU.

    Attributes:
        kind: What was checked.
        name: Name of the operator, or option of configs/model.
        dtype: Dtype on the accelerator.
        status: "equal" within the limits, "different", "failed" on the accelerator, "unsupported" by it, or "skipped".
        quantity: The result with the largest difference in relation to its limit, such as "gradient of weight".
        difference: Its largest difference, relative to its largest value; None if a value is not finite.
        limit: Largest accepted difference.
        issue: Known issue of this accelerator, such as "pytorch#175189".
        message: What differs or fails, or why nothing was compared, without a period; empty if the status is "equal".
        fix: What to do about it: an imperative sentence with a period; empty unless the status is "different" or
            "failed".
    """

    kind: Kind
    name: str
    dtype: str
    status: Status
    quantity: str = ""
    difference: float | None = None
    limit: float | None = None
    issue: str = ""
    message: str = ""
    fix: str = ""


def make_result(
    kind: Kind, name: str, dtype: str, worst: Difference, message: str, fix: str, issue: str = ""
) -> CheckResult:
    """Return the result of a comparison.

    Args:
        kind: What was checked.
        name: Its name.
        dtype: Its dtype on the accelerator.
        worst: The difference that is the largest multiple of its limit.
        message: What differs, if that exceeds its limit.
        fix: What to do then.
        issue: Known issue of the accelerator.
    """
    value = worst.value if math.isfinite(worst.value) else None
    if worst.ratio > 1:
        return CheckResult(kind, name, dtype, "different", worst.quantity, value, worst.limit, issue, message, fix)
    return CheckResult(kind, name, dtype, "equal", worst.quantity, value, worst.limit, issue)


def compare_tensors(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], limits: Mapping[str, float], min_scale: float = 0.0
) -> list[Difference]:
    """Return the difference of each expected tensor, with the largest multiple of its limit first.

    Args:
        expected: Tensors of the CPU by name.
        found: Tensors of the accelerator, copied to the CPU. A missing one differs infinitely.
        limits: Largest relative difference by name.
        min_scale: Smallest value to which a difference is related.
    """
    differences = [
        Difference(
            name, find_difference(tensor, found[name], min_scale) if name in found else math.inf, float(limits[name])
        )
        for name, tensor in expected.items()
    ]
    return sorted(differences, key=lambda difference: difference.ratio, reverse=True)


def format_difference(difference: Difference) -> str:
    """Return a difference that exceeds its limit as the end of a sentence."""
    if math.isinf(difference.value):
        return f"{difference.quantity} is missing or not finite, unlike on the CPU"
    return (
        f"{difference.quantity} differs by {format_percentage(difference.value)} from the CPU (limit "
        f"{format_percentage(difference.limit)})"
    )


def format_percentage(value: float) -> str:
    """Return a fraction as a percentage with two significant digits."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:,.0f} %"
