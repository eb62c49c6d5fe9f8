"""A model as a graph of torch's operators, of any number of samples."""

from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output

InputShapes = dict[str, list[str | int]]


def export_program(source: ExportSource) -> ExportedProgram:
    """Return the graph for batches of any size, and texts of any length where the model can read such.

    Raises:
        ValueError: torch.export cannot follow the model, or for one size of batch alone.
    """
    sample = source.inputs.sample(2, source.inputs.longest or 0)
    free = {0: Dim.DYNAMIC} if source.inputs.longest is None else {0: Dim.DYNAMIC, 1: Dim.AUTO}
    shapes = dict.fromkeys(sample, free) if isinstance(sample, dict) else free
    return trace(source, sample, (shapes,))


def trace(source: ExportSource, sample: Any, shapes: tuple[Any] | None = None) -> ExportedProgram:
    """Return the graph of a model for a sample's shape, the axes that are named there left open.

    Raises:
        ValueError: torch.export cannot follow the model.
    """
    try:
        with suppress_output():
            return torch.export.export(source.model, (sample,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds
        if "Constraints violated" in str(error):
            raise ValueError(
                f"{type(source.model).__name__} can be exported for one size of batch alone, as its forward makes a "
                "number of it: write inputs.shape[0] in the place of len(inputs), or choose format=safetensors"
            ) from error
        raise ValueError(
            f"torch.export cannot follow the forward of {type(source.model).__name__} ({get_first_line(error)}): choose "
            "format=safetensors, or write it without decisions on the numbers in a tensor"
        ) from error


def get_input_shapes(source: ExportSource, graph: ExportedProgram) -> InputShapes:
    """Return the shape of each input by its name: a number, or the name of an axis that is open."""
    given = {each.arg.name for each in graph.graph_signature.input_specs if each.kind == InputKind.USER_INPUT}
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder" and node.name in given]
    return {
        name: [
            size if isinstance(size, int) else ("batch" if place == 0 else "length")
            for place, size in enumerate(node.meta["val"].shape)
        ]
        for name, node in zip(source.inputs.meaning, nodes, strict=True)
    }


def get_first_line(error: Exception) -> str:
    """Return what an error is about."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
