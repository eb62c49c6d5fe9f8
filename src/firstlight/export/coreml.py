"""A Core ML package for Apple's devices: made on any machine, run on Apple's alone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.export.metadata import build_metadata, write_tokenizer
from firstlight.export.metadata import write_json as write_json
from firstlight.export.parity import check_parity
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import get_first_line, get_input_shapes, trace

LOADING_CODE = ["import coremltools", 'model = coremltools.models.MLModel("model.mlpackage")']


def export_model(source: ExportSource, folder: Path) -> str:
    """Write model.mlpackage and model.mlpackage.json into a folder, and return what was checked.

    It takes one sample at a time, and texts filled up to their greatest length: the shapes that each of Core ML's
    devices runs. It computes in float32.

    Raises:
        ValueError: the model cannot be exported, or Core ML lacks one of its operators.
    """
    sample = source.inputs.sample(1, source.inputs.longest or 0)
    graph = trace(source, sample)
    shapes = get_input_shapes(source, graph)
    checked = check_parity(source, graph.module(), shapes, batches=(1,))
    table = torch.export.default_decompositions()
    # coremltools 9.0 knows it by this name alone.
    table[torch.ops.aten.__and__.Tensor] = torch.ops.aten.bitwise_and.Tensor
    try:
        with suppress_output():
            package = convert(graph.run_decompositions(table), source.inputs.to_dict(sample))
            package.user_defined_metadata["class_names"] = "\n".join(source.model.class_names)
            package.save(str(folder / "model.mlpackage"))
    except Exception as error:  # coremltools raises many kinds
        raise ValueError(
            f"coremltools cannot convert {type(source.model).__name__} ({get_first_line(error)}): choose format=onnx"
        ) from error
    arrays = ", ".join(f'"{name}": {name}' for name in shapes)
    load = [*LOADING_CODE, f'logits = model.predict({{{arrays}}})["logits"]']
    about = build_metadata(source, "coreml", load, shapes)
    for each in about["inputs"].values():
        each["dtype"] = "int32" if each["dtype"] == "int64" else each["dtype"]  # Core ML has no longer ones
    about["outputs"]["logits"]["shape"][0] = 1
    write_json(folder / "model.mlpackage.json", about)
    write_tokenizer(source, folder)
    return f"{checked}, before the conversion; Core ML itself runs on Apple's devices alone"


def convert(graph: Any, inputs: dict[str, Tensor]) -> Any:
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
