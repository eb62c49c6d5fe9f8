"""Export to torch.export: a program that any PyTorch installation runs, without the model's source code."""

from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils._pytree import tree_map_only

from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.export.tracing import export_program, get_input_shapes

# Metadata of an operator that says where in which source file it was called.
PRIVATE_KEYS = ("stack_trace", "from_node", "custom")
LOADING_CODE = ["import torch", 'model = torch.export.load("model.pt2").module()']


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write model.pt2 and model.pt2.json to a directory; return a line about the verification.

    Raises:
        ConfigError: If the model cannot be exported, or the exported program deviates from the model.
    """
    graph = export_program(source)
    shapes = get_input_shapes(source, graph)
    remove_private_content(graph)
    with suppress_output():
        torch.export.save(graph, output_dir / "model.pt2")
        exported = torch.export.load(output_dir / "model.pt2").module()
    verified = check_parity(source, exported, shapes)
    names = ", ".join(f'"{name}": {name}' for name in shapes)
    call = f"model({{{names}}})" if isinstance(source.inputs.sample(1, 1), dict) else f"model({next(iter(shapes))})"
    metadata = build_metadata(source, "torch", [*LOADING_CODE, f"logits = {call}"], shapes)
    write_json(output_dir / "model.pt2.json", metadata)
    write_preprocessing(source, output_dir, shapes)
    return verified


def remove_private_content(graph: ExportedProgram) -> None:
    """Replace the inputs of the trace, which may be samples of a dataset, by zeros; remove paths of this machine.

    The paths are in the stack trace of each operator. No program needs them to run.
    """
    graph.example_inputs = tree_map_only(torch.Tensor, torch.zeros_like, graph.example_inputs)
    for module in graph.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                for key in PRIVATE_KEYS:
                    node.meta.pop(key, None)
