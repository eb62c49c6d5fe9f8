"""Load pretrained weights into a torchvision network, by name or from a file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.run.errors import CheckpointError, ConfigError, unknown_name


def load_pretrained(network: nn.Module, weights: str, weights_enum: Any, skip_prefix: str) -> None:
    """Load pretrained weights into a network, except for its head.

    Args:
        network: A torchvision network.
        weights: Name of a member of `weights_enum`, such as IMAGENET1K_V2, or a file with a state dict or checkpoint.
        weights_enum: torchvision's enumeration of the weights of this network.
        skip_prefix: Parameters whose names start with this prefix are not loaded, such as "fc.".

    Raises:
        ConfigError: If `weights` is neither a known name nor a file.
        CheckpointError: If the weights cannot be loaded, or do not fit this network.
    """
    if weights in weights_enum.__members__:
        loaded = _download(weights_enum[weights])
    elif Path(weights).is_file():
        loaded = {name.removeprefix("network."): tensor for name, tensor in _load_state_dict(weights).items()}
    else:
        problem = unknown_name("model.weights", weights, weights_enum.__members__)
        raise ConfigError(f"{problem} Set model.weights to a known name, a file path, or null for random weights.")
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(skip_prefix)}
    fitting = {name: loaded[name] for name in expected if name in loaded and loaded[name].shape == expected[name].shape}
    if missing := sorted(expected.keys() - fitting.keys()):
        raise CheckpointError(
            f"model.weights={weights} is incompatible with this network: {len(missing)} of {len(expected)} tensors are "
            f"missing or have another shape (first: {missing[0]}). For small images, set model.stem=standard, or use "
            "random weights with model.weights=null."
        )
    network.load_state_dict(fitting, strict=False)


def _load_state_dict(file: str) -> dict[str, Tensor]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
        state_dict: dict[str, Tensor] = saved.get("state_dict", saved)
    except Exception as error:  # torch raises many kinds for a file without plain weights
        raise CheckpointError(
            f"model.weights={file} is not a state dict or checkpoint ({type(error).__name__}). Use another file."
        ) from error
    return state_dict


def _download(weights: Any) -> dict[str, Tensor]:
    network = type(weights).__name__.removesuffix("_Weights")
    try:
        state_dict: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"Could not download model.weights={weights.name} for {network} ({error}). Check your connection, or set "
            "model.weights to a file."
        ) from error
    return state_dict
