"""Bare weights, with a config.json by which they load without this package."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from firstlight.export.metadata import build_metadata, write_tokenizer
from firstlight.export.metadata import write_json as write_json
from firstlight.export.parity import check_parity
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output

WEIGHTS_FILE = "model.safetensors"


def export_model(source: ExportSource, folder: Path) -> str:
    """Write model.safetensors and config.json into a folder, and return what was checked.

    A network of transformers becomes a folder for `from_pretrained`. Any other loads into the model's class, which
    config.json names, with the settings that build it.

    Raises:
        ValueError: what is loaded from the folder is not the model.
    """
    write_tokenizer(source, folder)
    if type(source.model.network).__module__.partition(".")[0] == "transformers":
        return export_transformers(source, folder)
    save_weights(source.model, folder)
    lines, checked = make_loading_code(source), verify_saved_weights(source.model, folder)
    write_json(
        folder / "config.json", {**build_metadata(source, "safetensors", lines), "settings": get_init_kwargs(source)}
    )
    return checked


def save_weights(module: nn.Module, folder: Path) -> None:
    """Write the weights and the buffers of a module."""
    # Copies: the format refuses tensors that share their memory.
    state = {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def export_transformers(source: ExportSource, folder: Path) -> str:
    """Write a folder for transformers, and read it again by transformers alone."""
    import transformers

    network, names = source.model.network, source.model.class_names
    network.config.id2label = dict(enumerate(names))
    network.config.label2id = {name: index for index, name in enumerate(names)}
    kind = type(network).__name__
    auto = "AutoModelForSequenceClassification" if kind.endswith("ForSequenceClassification") else kind
    with suppress_output():
        network.save_pretrained(folder)
        again: Any = getattr(transformers, auto).from_pretrained(folder).eval()
    load = [f"from transformers import {auto}", f'model = {auto}.from_pretrained(".").eval()']
    load.append(f"logits = model({', '.join(f'{name}={name}' for name in source.inputs.meaning)}).logits")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Under a name of its own: transformers keeps what it does not know, and takes inputs by the same names.
    # Without the tokenizer, which is long and lies beside it.
    settings = {name: value for name, value in get_init_kwargs(source).items() if name != "tokenizer"}
    config["export"] = {**build_metadata(source, "safetensors", load), "settings": settings}
    write_json(folder / "config.json", config)
    return check_parity(source, lambda inputs: again(**source.inputs.to_dict(inputs)).logits)


def make_loading_code(source: ExportSource) -> list[str]:
    """Return the lines that load weights into the model's class."""
    kind = type(source.model)
    named = ", ".join(f'"{name}": {name}' for name in source.inputs.meaning)
    is_dict = isinstance(source.inputs.sample(1, 1), dict)
    return [
        "import json",
        "from safetensors.torch import load_file",
        f"from {kind.__module__} import {kind.__name__}",
        f'model = {kind.__name__}(**json.load(open("config.json"))["settings"])',
        f'model.load_state_dict(load_file("{WEIGHTS_FILE}"))',
        f"logits = model.eval()({f'{{{named}}}' if is_dict else next(iter(source.inputs.meaning))})",
    ]


def get_init_kwargs(source: ExportSource) -> dict[str, Any]:
    """Return the arguments that build the model's class again."""
    rebuilt = {**source.model.hparams, **source.model.rebuild_kwargs()}
    return {name: value for name, value in rebuilt.items() if name != "trust_remote_code"}


def verify_saved_weights(module: nn.Module, folder: Path) -> str:
    """Compare the file with the weights.

    Raises:
        ValueError: it holds others.
    """
    found: dict[str, Tensor] = load_file(folder / WEIGHTS_FILE)
    if any(not torch.equal(value, found[name]) for name, value in module.state_dict().items()):
        raise ValueError(f"{WEIGHTS_FILE} does not hold the model's weights: free some space and export again")
    return f"{len(found)} tensors, equal to the last bit (safetensors {version('safetensors')})"
