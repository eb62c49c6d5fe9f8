"""Compare the first training steps of a setting with those in float32."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from firstlight.trial.difference import find_difference
from firstlight.trial.recorders import StepRecorder

# Compared steps, and the factor of the learning rates in them: larger steps would amplify rounding errors.
NUM_STEPS, LR_FACTOR = 4, 0.1


@dataclass(frozen=True)
class Tolerance:
    """Largest relative differences from the float32 reference.

    Attributes:
        loss: Difference of the loss of a step.
        gradient: Difference of the gradient norm of a step, and of the norm of the change of the weights.
    """

    loss: float
    gradient: float


# By precision. bfloat16 has 8 significant bits; float16, and TF32, which `32-true` uses on CUDA, have 11. The rounding
# errors of the layers add up in the gradients of a deep network.
TOLERANCES = {
    "64-true": Tolerance(loss=0.005, gradient=0.02),
    "32-true": Tolerance(loss=0.005, gradient=0.02),
    "16-true": Tolerance(loss=0.01, gradient=0.05),
    "bf16-true": Tolerance(loss=0.03, gradient=0.1),
    "16-mixed": Tolerance(loss=0.01, gradient=0.05),
    "bf16-mixed": Tolerance(loss=0.03, gradient=0.1),
}
# How many times the difference between two float32 runs with other random numbers is added to the tolerance.
SPREAD_FACTOR = 3.0


@dataclass
class Reference:
    """Losses, gradient norms and weight change in float32, each with its spread over the randomness of the model."""

    values: dict[str, Tensor]
    spreads: dict[str, float] = field(default_factory=dict)


def list_values(recorder: StepRecorder) -> dict[str, Tensor]:
    """Return what is compared, by name."""
    values = {
        "loss": recorder.losses,
        "gradient norm": recorder.gradient_norms,
        "weight change": [recorder.update_norm],
    }
    return {name: torch.tensor(found, dtype=torch.float64) for name, found in values.items()}


def make_reference(first: StepRecorder, second: StepRecorder) -> Reference:
    """Return the reference from two runs in float32 that differ in the random numbers of the model only."""
    values, others = list_values(first), list_values(second)
    return Reference(values, {name: find_difference(values[name], others[name]) for name in values})


def is_finite(reference: Reference) -> bool:
    """Return True if no value of the reference is infinite or NaN."""
    has_finite_values = all(bool(found.isfinite().all()) for found in reference.values.values())
    return has_finite_values and all(map(math.isfinite, reference.spreads.values()))


def find_mismatch(reference: Reference, recorder: StepRecorder, precision: str) -> str:
    """Return how the steps of a setting differ from the reference, or "" if they agree.

    Args:
        reference: The steps in float32.
        recorder: The steps of the setting.
        precision: Its precision.
    """
    tolerance = TOLERANCES[precision]
    for name, found in list_values(recorder).items():
        limit = tolerance.loss if name == "loss" else tolerance.gradient
        limit += SPREAD_FACTOR * reference.spreads[name]
        difference = find_difference(reference.values[name], found)
        if difference > limit:
            text = "is not finite" if math.isinf(difference) else f"differs by {difference:.1%} from float32"
            return f"{name} {text} (tolerance {limit:.1%})"
    return ""
