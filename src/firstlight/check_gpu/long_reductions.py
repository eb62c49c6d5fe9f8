"""Sums and matrix products over many elements, which kernels split into parts."""

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.check_gpu.operator_check import OperatorCase, Shapes

# On M1 and M2, matrix products over 32,767 and more elements were wrong if both sides of the result have at least 16
# elements (pytorch issue 195163): one element too many was added at 32,767, and up to a tile at 32,769.
BOUNDARY, BEYOND = 32_767, 32_769
LONG = 100_003
# The last values are larger, so that a mean, a variance or a norm without the last tile of a kernel differs visibly.
NUM_LARGE, LARGE_FACTOR = 100, 20
FEWER = "Keep samples x tokens, and features, at 32,766 or less."


def enlarge_end(values: Tensor) -> Tensor:
    """Multiply the last values by a factor, but not their gradients, which would hide the gradients of the others."""
    offsets = (LARGE_FACTOR - 1) * values.detach()
    offsets[..., :-NUM_LARGE] = 0
    return values + offsets


def make_batched_case(name: str, length: int) -> OperatorCase:
    """Return the case of a batched matrix product over a number of elements."""
    shapes: Shapes = {"left": (2, 16, length), "right": (2, length, 17)}
    return OperatorCase(name, torch.bmm, shapes, mps_issue=195163, workaround=FEWER)


def make_matrix_case(name: str, length: int) -> OperatorCase:
    """Return the case of a matrix product over a number of elements."""
    shapes: Shapes = {"left": (16, length), "right": (length, 17)}
    return OperatorCase(name, torch.matmul, shapes, mps_issue=177116, workaround=FEWER)


LONG_REDUCTIONS = [
    OperatorCase("sum of 100,003 elements", lambda x: x.sum(-1), {"input": (3, LONG)}),
    OperatorCase("sum of 100,003 rows", lambda x: x.sum(0), {"input": (LONG, 3)}),
    OperatorCase("mean of 100,003 elements", lambda x: enlarge_end(x).mean(-1), {"input": (3, LONG)}),
    OperatorCase("variance of 100,003 elements", lambda x: enlarge_end(x).var(-1), {"input": (3, LONG)}),
    OperatorCase("norm of 100,003 elements", lambda x: torch.linalg.vector_norm(enlarge_end(x)), {"input": (LONG,)}),
    OperatorCase("softmax of 100,003 elements", lambda x: x.softmax(-1), {"input": (2, LONG)}),
    make_matrix_case("matrix product, inner dimension 32,767", BOUNDARY),
    make_matrix_case("matrix product, inner dimension 32,769", BEYOND),
    make_batched_case("bmm, inner dimension 32,767", BOUNDARY),
    make_batched_case("bmm, inner dimension 32,769", BEYOND),
    OperatorCase(
        "baddbmm, inner dimension 32,769",
        torch.baddbmm,
        {"added": (2, 16, 17), "left": (2, 16, BEYOND), "right": (2, BEYOND, 17)},
        mps_issue=195163,
        workaround=FEWER,
    ),
    OperatorCase(
        "linear layer, 32,769 rows",  # the gradient of its weight is a sum over the rows
        functional.linear,
        {"input": (BEYOND, 16), "weight": (17, 16), "bias": (17,)},
        mps_issue=177116,
        workaround=FEWER,
    ),
]
