"""The pooling that MPS can run gives what torch's gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from firstlight.model.pooling import MPSAdaptiveAvgPool2d


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("shape", [(n, n) for n in range(1, 17)] + [(3, 10), (10, 3), (7, 9), (1, 5)])
def test_pooling_equals_torchs_and_so_do_its_gradients(shape, size):
    maps = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    again = maps.detach().clone().requires_grad_()
    expected, ours = nn.AdaptiveAvgPool2d(size)(maps), MPSAdaptiveAvgPool2d(size)(again)
    expected.square().sum().backward()
    ours.square().sum().backward()

    # Sums of at most 16 x 16 float32 values in another order.
    torch.testing.assert_close(expected, ours, rtol=0, atol=1e-6)
    torch.testing.assert_close(maps.grad, again.grad, rtol=1e-5, atol=1e-5)


def test_the_matrix_products_alone_equal_torchs_in_float64():
    maps = torch.randn(1, 1, 10, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(
        functional.adaptive_avg_pool2d(maps, 7), MPSAdaptiveAvgPool2d(7)(maps), rtol=0, atol=1e-12
    )


def test_half_precision_stays_what_it_is():
    assert MPSAdaptiveAvgPool2d(7)(torch.ones(1, 1, 10, 10, dtype=torch.bfloat16)).dtype is torch.bfloat16
