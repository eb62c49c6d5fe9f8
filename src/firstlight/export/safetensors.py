"""Bare weights, with a config.json by which they load without this package."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from firstlight.export.description import description, write_tokenizer
from firstlight.export.description import write as write_json
from firstlight.export.parity import compared
from firstlight.export.quiet import quiet
from firstlight.export.source import Source

WEIGHTS = "model.safetensors"


def write(source: Source, folder: Path) -> str:
    """Write model.safetensors and config.json into a folder, and return what was checked.

    A network of transformers becomes a folder for `from_pretrained`. Any other loads into the model's class, which
    config.json names, with the settings that build it.

    Raises:
        ValueError: what is loaded from the folder is not the model.
    """
    write_tokenizer(source, folder)
    if type(source.model.network).__module__.partition(".")[0] == "transformers":
        return transformers_folder(source, folder)
    save(source.model, folder)
    lines, checked = by_own_source(source), read_back(source.model, folder)
    write_json(folder / "config.json", {**description(source, "safetensors", lines), "settings": built_of(source)})
    return checked


def save(module: nn.Module, folder: Path) -> None:
    """Write the weights and the buffers of a module."""
    # Copies: the format refuses tensors that share their memory.
    state = {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def transformers_folder(source: Source, folder: Path) -> str:
    """Write a folder for transformers, and read it again by transformers alone."""
    import transformers

    network, names = source.model.network, source.model.class_names
    network.config.id2label = dict(enumerate(names))
    network.config.label2id = {name: index for index, name in enumerate(names)}
    kind = type(network).__name__
    auto = "AutoModelForSequenceClassification" if kind.endswith("ForSequenceClassification") else kind
    with quiet():
        network.save_pretrained(folder)
        again: Any = getattr(transformers, auto).from_pretrained(folder).eval()
    load = [f"from transformers import {auto}", f'model = {auto}.from_pretrained(".").eval()']
    load.append(f"logits = model({', '.join(f'{name}={name}' for name in source.inputs.meaning)}).logits")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Under a name of its own: transformers keeps what it does not know, and takes inputs by the same names.
    # Without the tokenizer, which is long and lies beside it.
    settings = {name: value for name, value in built_of(source).items() if name != "tokenizer"}
    config["export"] = {**description(source, "safetensors", load), "settings": settings}
    write_json(folder / "config.json", config)
    return compared(source, lambda inputs: again(**source.inputs.named(inputs)).logits)


def by_own_source(source: Source) -> list[str]:
    """Return the lines that load weights into the model's class."""
    kind = type(source.model)
    named = ", ".join(f'"{name}": {name}' for name in source.inputs.meaning)
    is_dict = isinstance(source.inputs.draw(1, 1), dict)
    return [
        "import json",
        "from safetensors.torch import load_file",
        f"from {kind.__module__} import {kind.__name__}",
        f'model = {kind.__name__}(**json.load(open("config.json"))["settings"])',
        f'model.load_state_dict(load_file("{WEIGHTS}"))',
        f"logits = model.eval()({f'{{{named}}}' if is_dict else next(iter(source.inputs.meaning))})",
    ]


def built_of(source: Source) -> dict[str, Any]:
    """Return the arguments that build the model's class again."""
    rebuilt = {**source.model.hparams, **source.model.rebuild_kwargs()}
    return {name: value for name, value in rebuilt.items() if name != "allow_remote_code"}


def read_back(module: nn.Module, folder: Path) -> str:
    """Compare the file with the weights.

    Raises:
        ValueError: it holds others.
    """
    found: dict[str, Tensor] = load_file(folder / WEIGHTS)
    if any(not torch.equal(value, found[name]) for name, value in module.state_dict().items()):
        raise ValueError(f"{WEIGHTS} does not hold the model's weights: free some space and export again")
    return f"{len(found)} tensors, equal to the last bit (safetensors {version('safetensors')})"
