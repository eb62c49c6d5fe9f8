"""Adaptive average pooling for MPS gives the results of torch's."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from firstlight.model.pooling import MPSAdaptiveAvgPool2d


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("shape", [(n, n) for n in range(1, 17)] + [(3, 10), (10, 3), (7, 9), (1, 5)])
def test_outputs_and_gradients_match_torch(shape, size):
    expected_input = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    actual_input = expected_input.detach().clone().requires_grad_()
    expected, actual = nn.AdaptiveAvgPool2d(size)(expected_input), MPSAdaptiveAvgPool2d(size)(actual_input)
    expected.square().sum().backward()
    actual.square().sum().backward()

    # Sums of at most 16 x 16 float32 values in another order.
    torch.testing.assert_close(expected, actual, rtol=0, atol=1e-6)
    torch.testing.assert_close(expected_input.grad, actual_input.grad, rtol=1e-5, atol=1e-5)


def test_matrix_products_match_torch_in_float64():
    maps = torch.randn(1, 1, 10, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = functional.adaptive_avg_pool2d(maps, 7)

    torch.testing.assert_close(expected, MPSAdaptiveAvgPool2d(7)(maps), rtol=0, atol=1e-12)


def test_half_precision_is_preserved():
    assert MPSAdaptiveAvgPool2d(7)(torch.ones(1, 1, 10, 10, dtype=torch.bfloat16)).dtype is torch.bfloat16
