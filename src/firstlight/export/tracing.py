"""Trace a model with torch.export, with a dynamic batch size."""

from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.run.errors import ConfigError, get_first_line

# Input name -> its shape; a dynamic dimension has a name, "batch" or "length", in place of its size.
InputShapes = dict[str, list[str | int]]


def export_program(source: ExportSource) -> ExportedProgram:
    """Return the graph with a dynamic batch size, and with a dynamic text length if the model supports it.

    Raises:
        ConfigError: If torch.export cannot trace the model, or only with a fixed batch size.
    """
    sample = source.inputs.sample(2, source.inputs.max_length or 0)
    dims = {0: Dim.DYNAMIC} if source.inputs.max_length is None else {0: Dim.DYNAMIC, 1: Dim.AUTO}
    dynamic_shapes = dict.fromkeys(sample, dims) if isinstance(sample, dict) else dims
    return trace(source, sample, (dynamic_shapes,))


def trace(source: ExportSource, sample: Any, dynamic_shapes: tuple[Any] | None = None) -> ExportedProgram:
    """Return the graph of a model.

    Args:
        source: The model.
        sample: Inputs to trace the model with.
        dynamic_shapes: Dynamic dimensions of the inputs. If None, all shapes are fixed to the shapes of `sample`.

    Raises:
        ConfigError: If torch.export cannot trace the model.
    """
    try:
        with suppress_output():
            return torch.export.export(source.model, (sample,), dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch raises exceptions of many classes
        name = type(source.model).__name__
        if "Constraints violated" in str(error):
            raise ConfigError(
                f"{name} can only be exported with a fixed batch size because forward converts it to a Python int. "
                "Use inputs.shape[0] instead of len(inputs), or use format=safetensors."
            ) from error
        raise ConfigError(
            f"torch.export cannot trace {name}.forward ({get_first_line(error)}). "
            "Avoid branching on tensor values, or use format=safetensors."
        ) from error


def get_input_shapes(source: ExportSource, graph: ExportedProgram) -> InputShapes:
    """Return the shape of each input; dynamic dimensions are named "batch" or "length"."""
    names = {spec.arg.name for spec in graph.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT}
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder" and node.name in names]
    return {
        name: [
            size if isinstance(size, int) else ("batch" if dim == 0 else "length")
            for dim, size in enumerate(node.meta["val"].shape)
        ]
        for name, node in zip(source.inputs.descriptions, nodes, strict=True)
    }
