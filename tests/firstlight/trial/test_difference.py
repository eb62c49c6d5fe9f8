"""How much two tensors differ."""

import math

import pytest
import torch

from firstlight.trial.difference import find_difference


@pytest.mark.parametrize(
    ("expected", "found", "min_scale", "difference"),
    [
        ([4.0, -8.0], [4.0, -6.0], 0.0, 0.25),
        ([4.0, -8.0], [5.0, -8.0], 100.0, 0.01),
        ([0.0], [0.5], 0.0, 0.5),
        ([], [], 0.0, 0.0),
        ([1.0], [math.nan], 0.0, math.inf),
        ([1.0], [math.inf], 0.0, math.inf),
        ([1.0], [], 0.0, math.inf),
        ([1.0], [1.0, 1.0], 0.0, math.inf),
    ],
)
def test_difference_is_relative_to_the_largest_expected_value(expected, found, min_scale, difference):
    assert find_difference(torch.tensor(expected), torch.tensor(found), min_scale) == difference


def test_difference_is_computed_in_float64():
    expected = torch.tensor([1.0], dtype=torch.float64)

    assert find_difference(expected, expected + 2.0**-40) == 2.0**-40
