"""A program of torch.export, which runs wherever torch does, without the model's source."""

from pathlib import Path

import torch

from firstlight.export.metadata import build_metadata, write_tokenizer
from firstlight.export.metadata import write_json as write_json
from firstlight.export.parity import check_parity
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import export_program, get_input_shapes

LOADING_CODE = ["import torch", 'model = torch.export.load("model.pt2").module()']


def export_model(source: ExportSource, folder: Path) -> str:
    """Write model.pt2 and model.pt2.json into a folder, and return what was checked.

    Raises:
        ValueError: the model cannot be exported, or the program differs from it.
    """
    graph = export_program(source)
    with suppress_output():
        torch.export.save(graph, folder / "model.pt2")
        exported = torch.export.load(folder / "model.pt2").module()
    shapes = get_input_shapes(source, graph)
    checked = check_parity(source, exported, shapes)
    names = ", ".join(f'"{name}": {name}' for name in shapes)
    call = f"model({{{names}}})" if isinstance(source.inputs.sample(1, 1), dict) else f"model({next(iter(shapes))})"
    write_json(folder / "model.pt2.json", build_metadata(source, "torch", [*LOADING_CODE, f"logits = {call}"], shapes))
    write_tokenizer(source, folder)
    return checked
