"""Export to ONNX, for ONNX Runtime and other programs that read ONNX."""

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import export_program, get_input_shapes
from firstlight.run.errors import ConfigError, get_first_line

# A protobuf file cannot exceed 2 GiB. Larger weights are written to a separate file; 64 MiB are left for the graph.
MAX_PROTOBUF_BYTES = 2**31 - 2**26

LOADING_CODE = [
    "import onnxruntime",
    'session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])',
]


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write model.onnx and model.onnx.json to a directory; return a line about the verification.

    Raises:
        ConfigError: If the model cannot be exported, or the ONNX graph deviates from the model.
    """
    graph = export_program(source)
    shapes = get_input_shapes(source, graph)
    dynamic_dims = [{dim: size for dim, size in enumerate(shape) if isinstance(size, str)} for shape in shapes.values()]
    is_dict = isinstance(source.inputs.sample(1, 1), dict)
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in source.model.state_dict().values())
    try:
        with suppress_output():
            onnx_program: Any = torch.onnx.export(
                graph,
                dynamo=True,
                verbose=False,
                input_names=list(shapes),
                output_names=["logits"],
                dynamic_shapes=(dict(zip(shapes, dynamic_dims, strict=True)) if is_dict else dynamic_dims[0],),
            )
            onnx_program.save(output_dir / "model.onnx", external_data=num_bytes > MAX_PROTOBUF_BYTES)
    except Exception as error:  # the exporter raises exceptions of many classes
        name = type(source.model).__name__
        raise ConfigError(f"ONNX export of {name} failed: {get_first_line(error)}. Use format=torch.") from error
    session = onnxruntime.InferenceSession(output_dir / "model.onnx", providers=["CPUExecutionProvider"])

    def run_exported(inputs: Any) -> Tensor:
        arrays = {name: tensor.numpy() for name, tensor in source.inputs.name_inputs(inputs).items()}
        return torch.from_numpy(session.run(["logits"], arrays)[0])

    verified = check_parity(source, run_exported, shapes)
    arrays = ", ".join(f'"{name}": {name}' for name in shapes)
    loading_code = [*LOADING_CODE, f'logits = session.run(["logits"], {{{arrays}}})[0]']
    write_json(output_dir / "model.onnx.json", build_metadata(source, "onnx", loading_code, shapes))
    write_preprocessing(source, output_dir, shapes)
    return verified
