"""The metadata file of an export: a JSON file with everything that is needed to use the model."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from firstlight.export.source import ExportSource
from firstlight.export.tracing import InputShapes
from firstlight.model.classifier import Classifier
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.model.regressor import Regressor
from firstlight.run.provenance import get_package_versions
from firstlight.run.redaction import redact


def build_metadata(
    source: ExportSource, format: str, loading_code: list[str], shapes: InputShapes | None = None
) -> dict[str, Any]:
    """Return the metadata of an exported model: inputs, outputs, class names, loading code and versions.

    Args:
        source: The model.
        format: Name of the export format.
        loading_code: Lines of Python that load the file from its own directory.
        shapes: Shape of each input. If None, the batch size and the length of texts are dynamic.
    """
    has_inputs = bool(source.inputs.descriptions)
    sample = source.inputs.name_inputs(source.inputs.sample(1, source.inputs.max_length or 0)) if has_inputs else {}
    is_text = source.inputs.max_length is not None
    inputs = {
        name: {
            "shape": shapes[name] if shapes else ["batch", *(["length"] if is_text else tensor.shape[1:])],
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "description": source.inputs.descriptions[name],
        }
        for name, tensor in sample.items()
    }
    model = {key: value for key, value in source.config["model"].items() if key != "trust_remote_code"}
    return {
        "format": format,
        "load": loading_code,
        "inputs": inputs,
        **describe_outputs(source.model),
        "preprocessing": source.inputs.preprocessing,
        "model": redact(model),
        "checkpoint": source.checkpoint,
        "versions": get_package_versions(),
    }


def describe_outputs(model: LightningModule) -> dict[str, Any]:
    """Return shape and meaning of the outputs, as far as the task of the model states them."""
    if isinstance(model, Classifier):
        shape, meaning = ["batch", len(model.class_names)], {"probabilities": "softmax of the logits"}
        return {"class_names": model.class_names, "outputs": make_output_spec(shape), **meaning}
    if isinstance(model, MultiLabelClassifier):
        shape, meaning = (
            ["batch", len(model.label_names)],
            {"probabilities": "sigmoid of each logit", "labels": "probability > 0.5"},
        )
        return {"label_names": model.label_names, "outputs": make_output_spec(shape), **meaning}
    outputs = make_output_spec("as forward returns it")
    if isinstance(model, Regressor):
        formula = f"logits * {model.target_std!r} + {model.target_mean!r}"
        return {"target_name": model.target_name, "outputs": outputs, "prediction": formula}
    return {"outputs": outputs}


def make_output_spec(shape: list[Any] | str) -> dict[str, Any]:
    """Return the description of the only output, which all formats call "logits"."""
    return {"logits": {"shape": shape, "dtype": "float32"}}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary to a JSON file."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
