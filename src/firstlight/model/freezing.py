"""Freeze parameters by name: no gradients, and eval mode for modules that are frozen completely."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from firstlight.model.lora import is_adapter
from firstlight.run.errors import ConfigError, invalid_value


def apply_freeze_patterns(model: nn.Module, freeze: list[str], unfreeze: list[str]) -> None:
    """Freeze the parameters that match a pattern, then unfreeze those that match a pattern.

    A module whose parameters are all frozen switches to eval mode: BatchNorm keeps its running statistics, and dropout
    is off. A module with an unfrozen parameter switches to train mode.

    Args:
        model: Any module.
        freeze: Patterns of parameter names, such as "network.layer1.*" (see fnmatch).
        unfreeze: Patterns of the parameters to train in any case.

    Raises:
        ConfigError: If a pattern matches no parameter, or no parameter is left to train.
    """
    frozen, unfrozen = (
        find_parameters(model, key, value) for key, value in (("freeze", freeze), ("unfreeze", unfreeze))
    )
    parameters = dict(model.named_parameters())
    for name in frozen:
        parameters[name].requires_grad_(False)
    for name in unfrozen:
        parameters[name].requires_grad_(True)
    if frozen and not any(param.requires_grad for param in parameters.values()):
        raise ConfigError(
            f"freeze=[{','.join(freeze)}] freezes all {len(parameters)} parameters, so there is nothing to train. "
            "Exclude some of them, e.g. with unfreeze=[<pattern>]."
        )
    adapters = [param for name, param in parameters.items() if is_adapter(name)]
    if adapters and not any(param.requires_grad for param in adapters):
        raise ConfigError(
            f"freeze=[{','.join(freeze)}] freezes all adapters of model.lora_rank, which already freezes the other "
            "parameters. Remove freeze."
        )
    set_train_mode(model, unfrozen)
    set_eval_mode(model, frozen - unfrozen)


def find_parameters(model: nn.Module, key: str, patterns: list[str], epoch: int | None = None) -> set[str]:
    """Return the names of the parameters that match a pattern.

    Args:
        model: Any module.
        key: Config key of the patterns, for messages.
        patterns: Patterns of parameter names.
        epoch: The epoch of the patterns, if the key maps epochs to patterns.

    Raises:
        ConfigError: If a pattern matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    found: set[str] = set()
    for pattern in patterns:
        matches = {name for name in names if fnmatchcase(name, pattern)}
        if not matches:
            nearest = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[-3:]
            setting = f"{key}=[{{}}]" if epoch is None else f"{key}={{{{{epoch}:[{{}}]}}}}"
            proposed = f"'{nearest[0].rpartition('.')[0] or nearest[0]}*'"
            raise ConfigError(
                f"{setting.format(pattern)} matches no parameter of {type(model).__name__}. Nearest parameters: "
                f"{', '.join(nearest)}. Use e.g. {setting.format(proposed)}."
            )
        found |= matches
    return found


def freeze_first(modules: list[nn.Module], count: int) -> None:
    """Freeze the first modules of a network: disable gradients and switch to eval mode.

    In eval mode, BatchNorm keeps its running statistics and dropout is off.

    Args:
        modules: Modules of the network, from input to output.
        count: Number of modules to freeze.

    Raises:
        ConfigError: If `count` exceeds the number of modules.
    """
    if not 0 <= count <= len(modules):
        expected, fix = f"an integer from 0 to {len(modules)}", f"Use e.g. model.freeze_layers={len(modules)}."
        raise ConfigError(invalid_value("model.freeze_layers", count, expected, fix))
    for module in modules[:count]:
        module.requires_grad_(False)
        # Lightning restores the mode of each module, so eval() outlives the start of training.
        module.eval()


def freeze_except(network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Freeze all parameters of a network whose names do not start with a prefix, such as the prefix of the head."""
    frozen = {name for name, _ in network.named_parameters() if not name.startswith(prefixes)}
    for name, param in network.named_parameters():
        param.requires_grad_(name not in frozen)
    set_eval_mode(network, frozen)


def set_eval_mode(model: nn.Module, names: Iterable[str]) -> None:
    """Switch the modules with these parameters to eval mode if none of their parameters is trained."""
    # Lightning restores the mode of each module, so eval() outlives the start of training.
    for module in iter_parents(model, names):
        if not any(param.requires_grad for param in module.parameters()):
            module.eval()


def set_train_mode(model: nn.Module, names: Iterable[str]) -> None:
    """Switch the modules with these parameters to train mode, and their submodules without parameters, as dropout."""
    for module in iter_parents(model, names):
        module.training = True
        for child in module.children():
            if next(child.parameters(), None) is None:
                child.train()


def iter_parents(model: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """Return all modules that contain a parameter with one of these names, without duplicates."""
    paths = {".".join(parts[:depth]) for name in names for parts in [name.split(".")] for depth in range(len(parts))}
    return [model.get_submodule(path) for path in sorted(paths)]
