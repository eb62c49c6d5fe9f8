"""How much numbers differ from expected ones, relative to the largest of them."""

import math

from torch import Tensor


def find_difference(expected: Tensor, found: Tensor, min_scale: float = 0.0) -> float:
    """Return the largest difference of two tensors, relative to the largest expected value.

    Args:
        expected: Finite values of any shape and dtype.
        found: Values of the same shape, on the same device.
        min_scale: Smallest value to which a difference is related.

    Returns:
        The difference; inf if the shapes differ or a found value is not finite. If all expected values are 0 and
        `min_scale` is 0, the absolute difference.
    """
    if expected.shape != found.shape or not bool(found.isfinite().all()):
        return math.inf
    if not expected.numel():
        return 0.0
    expected, found = expected.double(), found.double()
    scale = max(float(expected.abs().max()), min_scale) or 1.0
    return float((expected - found).abs().max()) / scale
