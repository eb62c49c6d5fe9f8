"""Export to Core ML. Packages can be created on any machine, but run only on Apple devices."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import get_input_shapes, trace
from firstlight.run.errors import ConfigError, get_first_line

LOADING_CODE = ["import coremltools", 'model = coremltools.models.MLModel("model.mlpackage")']


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write model.mlpackage and model.mlpackage.json to a directory; return a line about the verification.

    The batch size is 1 and texts are padded to their maximum length, because every Core ML device supports fixed
    shapes. The package computes in float32.

    Raises:
        ConfigError: If the model cannot be exported, or Core ML lacks one of its operators.
    """
    sample = source.inputs.sample(1, source.inputs.max_length or 0)
    graph = trace(source, sample)
    shapes = get_input_shapes(source, graph)
    verified = check_parity(source, graph.module(), shapes, batch_sizes=(1,))
    decompositions = torch.export.default_decompositions()
    # coremltools 9.0 does not know aten::__and__, only bitwise_and. Remove this once it does.
    decompositions[torch.ops.aten.__and__.Tensor] = torch.ops.aten.bitwise_and.Tensor
    try:
        with suppress_output():
            package = convert(graph.run_decompositions(decompositions), source.inputs.name_inputs(sample))
            for key in ("class_names", "label_names"):
                if hasattr(source.model, key):
                    package.user_defined_metadata[key] = "\n".join(getattr(source.model, key))
            package.save(str(output_dir / "model.mlpackage"))
    except Exception as error:  # coremltools raises exceptions of many classes
        name = type(source.model).__name__
        raise ConfigError(f"Core ML export of {name} failed: {get_first_line(error)}. Use format=onnx.") from error
    arrays = ", ".join(f'"{name}": {name}' for name in shapes)
    loading_code = [*LOADING_CODE, f'logits = model.predict({{{arrays}}})["logits"]']
    metadata = build_metadata(source, "coreml", loading_code, shapes)
    for spec in metadata["inputs"].values():
        spec["dtype"] = "int32" if spec["dtype"] == "int64" else spec["dtype"]  # Core ML has no int64 inputs
    if isinstance(metadata["outputs"]["logits"]["shape"], list):
        metadata["outputs"]["logits"]["shape"][0] = 1
    write_json(output_dir / "model.mlpackage.json", metadata)
    write_preprocessing(source, output_dir, shapes)
    return f"{verified}, before conversion (Core ML itself runs only on Apple devices)"


def convert(graph: Any, inputs: dict[str, Tensor]) -> Any:
    """Convert a traced graph to a Core ML model with these inputs and the output "logits"."""
    import coremltools

    def make_tensor_type(name: str, tensor: Tensor) -> Any:
        dtype = np.float32 if tensor.is_floating_point() else np.int32
        return coremltools.TensorType(name=name, shape=tuple(tensor.shape), dtype=dtype)

    return coremltools.convert(
        graph,
        convert_to="mlprogram",
        inputs=[make_tensor_type(name, tensor) for name, tensor in inputs.items()],
        outputs=[coremltools.TensorType(name="logits", dtype=np.float32)],
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,  # includes macOS 13
    )
