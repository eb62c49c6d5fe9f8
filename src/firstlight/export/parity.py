"""Check that an exported model returns the same logits as the original model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firstlight.export.source import ExportSource
from firstlight.export.tracing import InputShapes
from firstlight.run.errors import ConfigError

BATCH_SIZES = (1, 2, 7)
# Relative to the largest logit, or to 1 if that is larger. Other programs add float32 numbers in another order, which
# changes logits by a few 1e-6 in networks of 50 layers.
TOLERANCE = 1e-4


def check_parity(
    source: ExportSource,
    exported: Callable[[Any], Tensor],
    shapes: InputShapes | None = None,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
) -> str:
    """Compare logits for several batch sizes and text lengths; return a line with the maximum deviation.

    Args:
        source: The model.
        exported: Maps what `source.inputs.sample` returns to logits, (batch, classes).
        shapes: Shapes of the exported inputs. If None, all of them are dynamic.
        batch_sizes: Batch sizes to compare.

    Raises:
        ConfigError: If the deviation exceeds the tolerance.
    """
    max_length = source.inputs.max_length or 0
    is_dynamic = max_length and (shapes is None or "length" in next(iter(shapes.values())))
    lengths = sorted({max_length, max(max_length // 2, 1), 3}) if is_dynamic else [max_length]
    max_deviation = 0.0
    for batch_size in batch_sizes:
        for length in lengths:
            inputs = source.inputs.sample(batch_size, length)
            with torch.no_grad():
                expected, actual = run_model(source, inputs), exported(inputs)
            deviation = float((expected - actual).abs().max()) if expected.shape == actual.shape else float("nan")
            tolerance = TOLERANCE * max(1.0, float(expected.abs().max()))
            if not deviation <= tolerance:
                raise ConfigError(
                    f"The exported model differs from the original: maximum deviation {deviation:.2g} for batch size "
                    f"{batch_size} (tolerance {tolerance:.2g}). Nothing was written. Use another format."
                )
            max_deviation = max(max_deviation, deviation)
    sizes = ", ".join(map(str, batch_sizes))
    tokens = f" and {', '.join(map(str, lengths))} tokens" if max_length else ""
    label = "batch sizes" if len(batch_sizes) > 1 else "batch size"
    return f"max deviation {max_deviation:.1e} (tolerance {TOLERANCE:g}) for {label} {sizes}{tokens}"


def run_model(source: ExportSource, inputs: Any) -> Tensor:
    """Return the output of the original model.

    Raises:
        ConfigError: If it is not a single tensor.
    """
    output = source.model(inputs)
    if not isinstance(output, Tensor):
        raise ConfigError(
            f"Cannot export {type(source.model).__name__}: forward returns a {type(output).__name__}, but only a "
            "single tensor is supported. Return a tensor, or use format=safetensors."
        )
    return output
