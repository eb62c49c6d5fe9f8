"""How to build a network of torchvision by torchvision alone."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from firstlight.model.pooling import AdaptiveMean


def by_torchvision(network: nn.Module, num_classes: int) -> list[str] | None:
    """Return the lines of Python that build a network, or None if it has layers of another library's.

    They are torchvision's own function for the network that is the most like it, and then each part that differs.

    Args:
        network: a class of torchvision's.
        num_classes: its classes.
    """
    ways = [way for name in builders(network) if (way := changes(network, name, num_classes)) is not None]
    return min(ways, key=lambda way: sum(map(len, way)), default=None)


def builders(network: nn.Module) -> list[str]:
    """Return the names of torchvision's functions that may have built a network."""
    models, kind = torchvision.models, type(network)
    return [name for name in models.list_models(models) if models.get_model_builder(name).__module__ == kind.__module__]


def changes(network: nn.Module, builder: str, num_classes: int) -> list[str] | None:
    """Return the lines from what torchvision's function builds to a network; None if there are none."""
    with torch.device("meta"):
        stock = torchvision.models.get_model(builder, weights=None, num_classes=num_classes)
    lines = [f"network = torchvision.models.{builder}(num_classes={num_classes})"]
    theirs = dict(stock.named_children())
    if type(stock) is not type(network) or theirs.keys() != dict(network.named_children()).keys():
        return None
    for name, layer in network.named_children():
        if repr(layer) != repr(theirs[name]):
            if (text := code(layer)) is None:
                return None
            lines.append(f"network.{name} = {text}")
    return lines


def code(layer: nn.Module) -> str | None:
    """Return a layer of torch's as Python; None for any other."""
    if isinstance(layer, AdaptiveMean):
        return f"nn.AdaptiveAvgPool2d({layer.size})"  # the same but for rounding
    if type(layer) is nn.Sequential:
        parts = [code(each) for each in layer]
        return None if None in parts else f"nn.Sequential({', '.join(map(str, parts))})"
    is_plain = type(layer).__module__.startswith("torch.nn.modules") and not list(layer.children())
    return f"nn.{layer!r}" if is_plain else None


def built(network: nn.Module, lines: list[str], state: dict[str, Tensor]) -> Callable[[Any], Tensor]:
    """Return the network that lines of `by_torchvision` build, with weights; the layers are built by name, not run.

    Args:
        network: what the lines describe.
        lines: the first names torchvision's function, the others the parts that differ.
        state: weights by name.
    """
    builder, _, rest = lines[0].partition("models.")[2].partition("(num_classes=")
    made: nn.Module = torchvision.models.get_model(builder, weights=None, num_classes=int(rest.rstrip(")")))
    for line in lines[1:]:
        name = line.partition(" = ")[0].removeprefix("network.")
        own = getattr(network, name)
        setattr(made, name, nn.AdaptiveAvgPool2d(own.size) if isinstance(own, AdaptiveMean) else own)
    made.load_state_dict(state)
    return made.eval()
