"""Export to safetensors: weights, and a config.json with the code that loads them."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.run.errors import CheckpointError, corrupt_file

WEIGHTS_FILE = "model.safetensors"


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write model.safetensors and config.json to a directory; return a line about the verification.

    For a transformers network, the directory can be loaded with `from_pretrained`. Any other network requires the
    model's class, which config.json names together with its constructor arguments.

    Raises:
        CheckpointError: If the weights in the file differ from the model's weights.
        ConfigError: If the logits of the loaded transformers network deviate from the model.
    """
    write_preprocessing(source, output_dir)
    if is_transformers(source.model):
        return export_transformers(source, output_dir)
    save_weights(source.model, output_dir)
    verified = verify_saved_weights(source.model, output_dir)
    metadata = build_metadata(source, "safetensors", make_loading_code(source))
    write_json(output_dir / "config.json", {**metadata, "init_kwargs": get_init_kwargs(source)})
    return verified


def is_transformers(model: Any) -> bool:
    """Return True if the network of a model is a class of transformers, without remote code."""
    return type(getattr(model, "network", None)).__module__.partition(".")[0] == "transformers"


def save_weights(module: nn.Module, output_dir: Path) -> None:
    """Write the parameters and buffers of a module."""
    # Copies, because safetensors rejects tensors that share memory.
    state_dict = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    save_file(state_dict, output_dir / WEIGHTS_FILE, metadata={"format": "pt"})


def export_transformers(source: ExportSource, output_dir: Path) -> str:
    """Write a directory that transformers loads, and verify it by loading it with transformers only."""
    import transformers

    network, model = source.model.network, source.model
    names = getattr(model, "class_names", None) or getattr(model, "label_names", None)
    if names:
        network.config.id2label = dict(enumerate(names))
        network.config.label2id = {name: index for index, name in enumerate(names)}
    network_class = type(network).__name__
    is_classifier = network_class.endswith("ForSequenceClassification")
    auto_class = "AutoModelForSequenceClassification" if is_classifier else network_class
    with suppress_output():
        network.save_pretrained(output_dir)
        loaded: Any = getattr(transformers, auto_class).from_pretrained(output_dir).eval()
    arguments = ", ".join(f"{name}={name}" for name in source.inputs.descriptions)
    loading_code = [
        f"from transformers import {auto_class}",
        f'model = {auto_class}.from_pretrained(".").eval()',
        f"logits = model({arguments}).logits",
    ]
    config = json.loads((output_dir / "config.json").read_text(encoding="utf-8"))
    # Nested under one key, because transformers has its own keys for inputs. It preserves unknown keys.
    # The tokenizer is omitted: it is large and has its own file in the same directory.
    init_kwargs = {name: value for name, value in get_init_kwargs(source).items() if name != "tokenizer"}
    config["export"] = {**build_metadata(source, "safetensors", loading_code), "init_kwargs": init_kwargs}
    write_json(output_dir / "config.json", config)
    return check_parity(source, lambda inputs: loaded(**source.inputs.name_inputs(inputs)).logits)


def make_loading_code(source: ExportSource) -> list[str]:
    """Return the lines of Python that load the weights into the model's class."""
    model_class = type(source.model)
    names = list(source.inputs.descriptions)
    items = ", ".join(f'"{name}": {name}' for name in names)
    is_single = len(names) == 1 and isinstance(source.inputs.sample(1, 1), Tensor)
    argument = names[0] if is_single else f"{{{items}}}" if names else "..."
    return [
        "import json",
        "from safetensors.torch import load_file",
        f"from {model_class.__module__} import {model_class.__name__}",
        f'model = {model_class.__name__}(**json.load(open("config.json"))["init_kwargs"])',
        f'model.load_state_dict(load_file("{WEIGHTS_FILE}"))',
        f"logits = model.eval()({argument})",
    ]


def get_init_kwargs(source: ExportSource) -> dict[str, Any]:
    """Return the constructor arguments of the model's class."""
    kwargs = {**source.config["model"], **source.model_kwargs}
    return {name: value for name, value in kwargs.items() if name not in ("_target_", "trust_remote_code")}


def verify_saved_weights(module: nn.Module, output_dir: Path) -> str:
    """Compare the weights in the file with the weights of a module, bit for bit.

    Raises:
        CheckpointError: If they differ.
    """
    saved: dict[str, Tensor] = load_file(output_dir / WEIGHTS_FILE)
    if any(not torch.equal(tensor, saved[name]) for name, tensor in module.state_dict().items()):
        detail = "its tensors differ from the model's weights"
        raise CheckpointError(corrupt_file(WEIGHTS_FILE, detail, "Free some disk space, then run `make export` again."))
    return f"{len(saved)} tensors, bitwise identical (safetensors {version('safetensors')})"
