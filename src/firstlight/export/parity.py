"""Whether an exported model says what the model says."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firstlight.export.source import ExportSource
from firstlight.export.tracing import InputShapes

BATCH_SIZES = (1, 2, 7)
# Of the largest logit, or of 1: other programs add up float32 in another order, which costs a few 1e-6 in 50 layers.
TOLERANCE = 1e-4


def check_parity(
    source: ExportSource,
    exported: Callable[[Any], Tensor],
    shapes: InputShapes | None = None,
    batches: tuple[int, ...] = BATCH_SIZES,
) -> str:
    """Return how far logits are apart over several sizes of batches, and of texts where their length is open.

    Args:
        source: the model.
        exported: returns the logits of what `source.inputs.draw` returns, (batch, classes).
        shapes: the shapes that were exported; None if they are all open.
        batches: sizes to try.

    Raises:
        ValueError: by more than rounding explains.
    """
    longest = source.inputs.longest or 0
    is_open = longest and (shapes is None or "length" in next(iter(shapes.values())))
    lengths = sorted({longest, max(longest // 2, 1), 3}) if is_open else [longest]
    largest = 0.0
    for count in batches:
        for length in lengths:
            inputs = source.inputs.sample(count, length)
            with torch.no_grad():
                expected, found = source.model(inputs), exported(inputs)
            deviation = float((expected - found).abs().max()) if expected.shape == found.shape else float("nan")
            limit = TOLERANCE * max(1.0, float(expected.abs().max()))
            if not deviation <= limit:
                raise ValueError(
                    f"What was exported is not the model: in a batch of {count} its logits are off by {deviation:.2g}, "
                    f"where rounding explains {limit:.2g}; nothing was written: choose another format"
                )
            largest = max(largest, deviation)
    sizes = ", ".join(map(str, batches))
    texts = f" of texts of {', '.join(map(str, lengths))} tokens" if longest else ""
    return f"largest deviation {largest:.1e} (at most {TOLERANCE:g}), in batches of {sizes}{texts}"
