"""Export to torch.export: a program that any PyTorch installation runs, without the model's source code."""

from pathlib import Path

import torch

from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import export_program, get_input_shapes

LOADING_CODE = ["import torch", 'model = torch.export.load("model.pt2").module()']


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write model.pt2 and model.pt2.json to a directory; return a line about the verification.

    Raises:
        ConfigError: If the model cannot be exported, or the exported program deviates from the model.
    """
    graph = export_program(source)
    with suppress_output():
        torch.export.save(graph, output_dir / "model.pt2")
        exported = torch.export.load(output_dir / "model.pt2").module()
    shapes = get_input_shapes(source, graph)
    verified = check_parity(source, exported, shapes)
    names = ", ".join(f'"{name}": {name}' for name in shapes)
    call = f"model({{{names}}})" if isinstance(source.inputs.sample(1, 1), dict) else f"model({next(iter(shapes))})"
    metadata = build_metadata(source, "torch", [*LOADING_CODE, f"logits = {call}"], shapes)
    write_json(output_dir / "model.pt2.json", metadata)
    write_preprocessing(source, output_dir, shapes)
    return verified
