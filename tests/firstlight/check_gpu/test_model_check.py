"""The comparison of a training step with the CPU: differences, limits and messages."""

import pytest
import torch

from firstlight.check_gpu import model_check
from firstlight.check_gpu.model_check import LOSS_LIMIT, check_model, compare_steps, find_limits
from firstlight.check_gpu.training_step import StepUnavailableError


def make_step(*factors):
    """Return the values of a step, with a factor for the loss, for a large gradient and for one of rounding errors."""
    loss, large, tiny = factors
    values = {"loss": 2.0 * loss, "gradient of weight": 0.5 * large, "gradient of bias": 1e-9 * tiny}
    return {name: torch.tensor([value]) for name, value in values.items()}


def test_steps_are_compared_by_loss_and_gradients():
    limits = dict.fromkeys(make_step(1, 1, 1), 0.01)
    differences = compare_steps(make_step(1, 1, 1), make_step(1.02, 1.005, 5), limits)

    assert [difference.quantity for difference in differences if difference.ratio > 1] == ["loss"]
    assert {difference.quantity: pytest.approx(difference.value, rel=1e-4) for difference in differences} == {
        "loss": 0.02,
        "gradient of weight": 0.005,
        # Rounding errors are related to the largest gradient.
        "gradient of bias": 4e-9 / (0.5 * model_check.MIN_SCALE),
    }


def test_missing_gradient_differs():
    found = make_step(1, 1, 1)
    del found["gradient of weight"]
    worst = compare_steps(make_step(1, 1, 1), found, dict.fromkeys(make_step(1, 1, 1), 0.01))[0]

    assert (worst.quantity, worst.value) == ("gradient of weight", torch.inf)


class FixedStep:
    """A step with the values of a float32 run and of another run on the CPU."""

    def __init__(self, reference, other):
        self.reference, self.other = reference, other

    def run(self, accelerator, precision, seed=0):
        assert (accelerator, precision, seed) == ("cpu", "64-true", 1)
        return self.other


def test_limits_grow_with_the_rounding_errors_of_a_model():
    limits = find_limits(FixedStep(make_step(1, 1, 1), make_step(1.01, 1, 1)))

    assert limits["loss"] == pytest.approx(LOSS_LIMIT + 3 * 0.01, rel=1e-4)
    assert limits["gradient of weight"] == 0.02


@pytest.mark.parametrize(
    ("reference", "other", "reason"),
    [
        (make_step(1, 1, 1), make_step(1, 1.5, 1), "its gradient of weight depends on random numbers"),
        ({}, {}, "returns no loss and no gradients"),
        (make_step(torch.nan, 1, 1), make_step(1, 1, 1), "or values that are not finite"),
    ],
)
def test_model_that_cannot_be_compared_is_skipped(reference, other, reason):
    with pytest.raises(StepUnavailableError, match=reason):
        find_limits(FixedStep(reference, other))


class FixedAccelerator(FixedStep):
    """A step whose values on the accelerator differ from the CPU."""

    def run(self, accelerator, precision, seed=0):
        return self.reference if accelerator == "cpu" else self.other


def test_difference_of_a_model_names_the_number_of_others_and_the_fix(monkeypatch):
    step = FixedAccelerator(make_step(1, 1, 1), make_step(1.5, 2, 1))
    monkeypatch.setattr(model_check, "TrainingStep", lambda name: step)
    result = check_model("net", "mps")

    assert result.message == (
        "model=net: loss differs by 50 % from the CPU (limit 0.1 %); 2 of 3 compared values differ"
    )
    assert result.fix == (
        "Train it with trainer=cpu. If no operator of it differs, report it to PyTorch, with the output of "
        "`make doctor gpu=true json=true`."
    )
