"""A program of torch.export, which runs wherever torch does, without the model's source."""

from pathlib import Path

import torch

from firstlight.export.description import description, write_tokenizer
from firstlight.export.description import write as write_json
from firstlight.export.parity import compared
from firstlight.export.program import axes, program
from firstlight.export.quiet import quiet
from firstlight.export.source import Source

LOAD = ["import torch", 'model = torch.export.load("model.pt2").module()']


def write(source: Source, folder: Path) -> str:
    """Write model.pt2 and model.pt2.json into a folder, and return what was checked.

    Raises:
        ValueError: the model cannot be exported, or the program differs from it.
    """
    graph = program(source)
    with quiet():
        torch.export.save(graph, folder / "model.pt2")
        exported = torch.export.load(folder / "model.pt2").module()
    shapes = axes(source, graph)
    checked = compared(source, exported, shapes)
    names = ", ".join(f'"{name}": {name}' for name in shapes)
    call = f"model({{{names}}})" if isinstance(source.inputs.draw(1, 1), dict) else f"model({next(iter(shapes))})"
    write_json(folder / "model.pt2.json", description(source, "torch", [*LOAD, f"logits = {call}"], shapes))
    write_tokenizer(source, folder)
    return checked
