"""A Core ML package for Apple's devices: made on any machine, run on Apple's alone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.export.description import description, write_tokenizer
from firstlight.export.description import write as write_json
from firstlight.export.parity import compared
from firstlight.export.program import axes, first_line, traced
from firstlight.export.quiet import quiet
from firstlight.export.source import Source

LOAD = ["import coremltools", 'model = coremltools.models.MLModel("model.mlpackage")']


def write(source: Source, folder: Path) -> str:
    """Write model.mlpackage and model.mlpackage.json into a folder, and return what was checked.

    It takes one sample at a time, and texts filled up to their greatest length: the shapes that each of Core ML's
    devices runs. It computes in float32.

    Raises:
        ValueError: the model cannot be exported, or Core ML lacks one of its operators.
    """
    sample = source.inputs.draw(1, source.inputs.longest or 0)
    graph = traced(source, sample)
    shapes = axes(source, graph)
    checked = compared(source, graph.module(), shapes, batches=(1,))
    table = torch.export.default_decompositions()
    # coremltools 9.0 knows it by this name alone.
    table[torch.ops.aten.__and__.Tensor] = torch.ops.aten.bitwise_and.Tensor
    try:
        with quiet():
            package = converted(graph.run_decompositions(table), source.inputs.named(sample))
            package.user_defined_metadata["class_names"] = "\n".join(source.model.class_names)
            package.save(str(folder / "model.mlpackage"))
    except Exception as error:  # coremltools raises many kinds
        raise ValueError(
            f"coremltools cannot convert {type(source.model).__name__} ({first_line(error)}): choose format=onnx"
        ) from error
    arrays = ", ".join(f'"{name}": {name}' for name in shapes)
    load = [*LOAD, f'logits = model.predict({{{arrays}}})["logits"]']
    about = description(source, "coreml", load, shapes)
    for each in about["inputs"].values():
        each["dtype"] = "int32" if each["dtype"] == "int64" else each["dtype"]  # Core ML has no longer ones
    about["outputs"]["logits"]["shape"][0] = 1
    write_json(folder / "model.mlpackage.json", about)
    write_tokenizer(source, folder)
    return f"{checked}, before the conversion; Core ML itself runs on Apple's devices alone"


def converted(graph: Any, inputs: dict[str, Tensor]) -> Any:
    """Return a graph as a Core ML model with these inputs and the output "logits"."""
    import coremltools

    def described(name: str, value: Tensor) -> Any:
        kind = np.float32 if value.is_floating_point() else np.int32
        return coremltools.TensorType(name=name, shape=tuple(value.shape), dtype=kind)

    return coremltools.convert(
        graph,
        convert_to="mlprogram",
        inputs=[described(name, value) for name, value in inputs.items()],
        outputs=[coremltools.TensorType(name="logits", dtype=np.float32)],
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,  # and macOS 13
    )
