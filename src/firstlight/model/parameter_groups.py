"""The parameter groups of an optimizer: which weights decay, and how learning rates decrease toward the input."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from firstlight.model.freezing import find_parameters
from firstlight.model.layers import assign_layers
from firstlight.run.errors import ConfigError

PATTERNS_KEY = "optimizer.no_weight_decay"


class LayeredParameters:
    """The trainable parameters of a model, as timm's `param_groups_layer_decay` reads them from a network."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers = assign_layers(model)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the name and the tensor of each trainable parameter."""
        return ((name, param) for name, param in self.model.named_parameters() if param.requires_grad)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return the function from the name of a parameter to its layer."""
        return self.layers.__getitem__


def make_parameter_groups(model: nn.Module, config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the groups of the trainable parameters. Parameters with ndim <= 1, such as biases, have no weight decay.

    Args:
        model: Any module.
        config: `weight_decay`, `layer_decay` and `no_weight_decay` of the optimizer; all may be missing. With
            `layer_decay`, each group has an `lr_scale`, which is 1 in the last layer, and the last layer comes first.

    Raises:
        ConfigError: If a pattern of `no_weight_decay` matches no parameter.
    """
    weight_decay, patterns = config.get("weight_decay", 0.0), config.get("no_weight_decay") or []
    if config.get("layer_decay") is not None:
        # Imported here, because timm is an extra and takes seconds to import.
        from timm.optim import param_groups_layer_decay

        parameters: Any = LayeredParameters(model)
        groups = param_groups_layer_decay(
            parameters, weight_decay, no_weight_decay_list=patterns, layer_decay=config["layer_decay"]
        )
        return sorted(groups, key=lambda group: (-group["lr_scale"], group["weight_decay"] == 0))
    excluded = find_parameters(model, PATTERNS_KEY, patterns)
    trainable = {name: param for name, param in model.named_parameters() if param.requires_grad}
    decayed = {name for name, param in trainable.items() if param.ndim > 1 and name not in excluded}
    groups = [
        {"params": [param for name, param in trainable.items() if name in decayed], "weight_decay": weight_decay},
        {"params": [param for name, param in trainable.items() if name not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def validate_parameter_groups(model: nn.Module, config: dict[str, Any]) -> None:
    """Check that `layer_decay` and `no_weight_decay` of an optimizer have an effect on a model.

    Raises:
        ConfigError: If one of them has none.
    """
    patterns, layer_decay = config.get("no_weight_decay") or [], config.get("layer_decay")
    if patterns and not config.get("weight_decay"):
        raise ConfigError(
            f"{PATTERNS_KEY} has no effect without weight decay. Set optimizer.weight_decay=0.01, or {PATTERNS_KEY}=[]."
        )
    for pattern in patterns:
        names = find_parameters(model, PATTERNS_KEY, [pattern])
        if all(model.get_parameter(name).ndim <= 1 for name in names):
            raise ConfigError(
                f"{PATTERNS_KEY}=[{pattern}] has no effect: it matches only biases and parameters of normalization "
                "layers, which have no weight decay in any case. Remove the pattern."
            )
    if layer_decay is not None and count_layers(model) == 1:
        raise ConfigError(
            f"optimizer.layer_decay={layer_decay} has no effect, because all trainable parameters of "
            f"{type(model).__name__} are in one layer. Set optimizer.layer_decay=null, or define timm's method "
            "`group_matcher` in the network."
        )


def describe_layer_rates(model: nn.Module, config: dict[str, Any]) -> str:
    """Return the learning rates of the first and the last layer in one line."""
    num_layers, decay = count_layers(model), config["layer_decay"]
    if "lr" not in config:
        return f"factor {decay ** (num_layers - 1):.4g} in the first of {num_layers} layers (layer_decay {decay:g})"
    lr = config["lr"]
    rates = f"lr {lr:.4g} in the last of {num_layers} layers, {lr * decay ** (num_layers - 1):.4g} in the first"
    return f"{rates} (layer_decay {decay:g})"


def count_layers(model: nn.Module) -> int:
    """Return the number of layers with trainable parameters."""
    return len(set(assign_layers(model).values()))
