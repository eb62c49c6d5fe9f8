"""What a stranger must know to use an exported model, as JSON beside it."""

import json
from pathlib import Path
from typing import Any

from firstlight.export.source import ExportSource
from firstlight.export.tracing import InputShapes
from firstlight.run.provenance import get_package_versions
from firstlight.run.redaction import redact


def build_metadata(
    source: ExportSource, format: str, load: list[str], shapes: InputShapes | None = None
) -> dict[str, Any]:
    """Return what the inputs and the outputs mean, how to load the file, and where it comes from.

    Args:
        source: the model.
        format: name of the format.
        load: lines of Python that load the file from the folder it lies in.
        shapes: of each input; None takes those of the inputs, the batch and the length of texts open.
    """
    drawn = source.inputs.to_dict(source.inputs.sample(1, source.inputs.longest or 0))
    is_text = source.inputs.longest is not None
    inputs = {
        name: {
            "shape": shapes[name] if shapes else ["batch", *(["length"] if is_text else value.shape[1:])],
            "dtype": str(value.dtype).removeprefix("torch."),
            "meaning": source.inputs.meaning[name],
        }
        for name, value in drawn.items()
    }
    model = {name: value for name, value in source.settings["model"].items() if name != "trust_remote_code"}
    return {
        "format": format,
        "load": load,
        "class_names": source.model.class_names,
        "inputs": inputs,
        "outputs": {"logits": {"shape": ["batch", len(source.model.class_names)], "dtype": "float32"}},
        "probabilities": "softmax of the logits",
        "preprocessing": source.inputs.preprocessing,
        "model": redact(model),
        "checkpoint": source.checkpoint,
        "versions": get_package_versions(),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write it as JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(source: ExportSource, folder: Path) -> None:
    """Write what cuts texts for the model, if it is a model of texts."""
    if source.model.tokenizer is not None:
        source.model.tokenizer.save_pretrained(folder)
