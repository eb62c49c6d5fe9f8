"""An ONNX graph, which runs in ONNX Runtime and whatever else reads ONNX."""

from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from firstlight.export.metadata import build_metadata, write_tokenizer
from firstlight.export.metadata import write_json as write_json
from firstlight.export.parity import check_parity
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import export_program, get_first_line, get_input_shapes

# A file of protobuf holds 2 GiB; weights of more go into a file beside it.
MAX_PROTOBUF_BYTES = 2**31 - 2**26

LOADING_CODE = [
    "import onnxruntime",
    'session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])',
]


def export_model(source: ExportSource, folder: Path) -> str:
    """Write model.onnx and model.onnx.json into a folder, and return what was checked.

    Raises:
        ValueError: the model cannot be exported, or the graph differs from it.
    """
    graph = export_program(source)
    shapes = get_input_shapes(source, graph)
    named = [{place: size for place, size in enumerate(shape) if isinstance(size, str)} for shape in shapes.values()]
    is_dict = isinstance(source.inputs.sample(1, 1), dict)
    count = sum(each.numel() * each.element_size() for each in source.model.state_dict().values())
    try:
        with suppress_output():
            made: Any = torch.onnx.export(
                graph,
                dynamo=True,
                verbose=False,
                input_names=list(shapes),
                output_names=["logits"],
                dynamic_shapes=(dict(zip(shapes, named, strict=True)) if is_dict else named[0],),
            )
            made.save(folder / "model.onnx", external_data=count > MAX_PROTOBUF_BYTES)
    except Exception as error:  # the exporter raises many kinds
        raise ValueError(
            f"ONNX cannot express {type(source.model).__name__} ({get_first_line(error)}): choose format=torch"
        ) from error
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def exported(inputs: Any) -> Tensor:
        arrays = {name: value.numpy() for name, value in source.inputs.to_dict(inputs).items()}
        return torch.from_numpy(session.run(["logits"], arrays)[0])

    checked = check_parity(source, exported, shapes)
    arrays = ", ".join(f'"{name}": {name}' for name in shapes)
    load = [*LOADING_CODE, f'logits = session.run(["logits"], {{{arrays}}})[0]']
    write_json(folder / "model.onnx.json", build_metadata(source, "onnx", load, shapes))
    write_tokenizer(source, folder)
    return checked
