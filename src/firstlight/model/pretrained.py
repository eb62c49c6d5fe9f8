"""Load pretrained weights of a torchvision network: by torchvision's name for them, or from a file."""

from pathlib import Path
from typing import Any

import torch
from torch import nn


def load_pretrained(network: nn.Module, weights: str, choices: Any, leave_out: str) -> None:
    """Fill a network with pretrained weights, all but its classifier.

    Args:
        network: a torchvision network.
        weights: a name of the enumeration, such as IMAGENET1K_V2, or a file of a state dictionary or checkpoint.
        choices: torchvision's enumeration of this network's weights.
        leave_out: start of the names that are trained anew.

    Raises:
        ValueError: neither a known name nor a file, or weights of another network.
    """
    if weights in choices.__members__:
        state = _download(choices[weights])
    elif Path(weights).is_file():
        state = _read_state_dict(weights)
        state = {name.removeprefix("network."): value for name, value in state.items()}
    else:
        known = ", ".join(choices.__members__)
        raise ValueError(f"model.weights={weights} is neither a file nor one of {known}: choose one, or null for none")
    wanted = {name for name in network.state_dict() if not name.startswith(leave_out)}
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    fitting = {name: state[name] for name in wanted if name in state and state[name].shape == shapes[name]}
    if missing := sorted(wanted - set(fitting)):
        raise ValueError(
            f"model.weights={weights} does not fit this network: {len(missing)} tensors are missing or of another "
            f"shape, {missing[0]} first. Small images get another first layer: set model.stem=standard, or weights=null"
        )
    network.load_state_dict(fitting, strict=False)


def _read_state_dict(file: str) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        weights: dict[str, torch.Tensor] = state.get("state_dict", state)
    except Exception as error:  # torch raises many kinds for what is no plain weights
        raise ValueError(
            f"model.weights={file} holds something else than weights ({type(error).__name__}): give another file"
        ) from error
    return weights


def _download(choice: Any) -> dict[str, torch.Tensor]:
    network = type(choice).__name__.removesuffix("_Weights")
    try:
        state: dict[str, torch.Tensor] = choice.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise ValueError(
            f"model.weights={choice.name} of {network} could not be downloaded ({error}): connect to the network, or "
            "give a file"
        ) from error
    return state
