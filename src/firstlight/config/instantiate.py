"""Import what a `_target_` names and call it: the only place where a config selects code."""

import functools
import inspect
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from firstlight.config.options import SOURCE_DIR, list_config_targets
from firstlight.config.schema import HYDRA_KEYS, is_trusted, validate_trusted
from firstlight.config.switches import is_switched_off
from firstlight.run.errors import ConfigError, MissingPackageError
from firstlight.run.failure import is_oom_error
from firstlight.run.packages import get_install_hint

# The classes that each section of a config may name, and those that may occur inside of a section. A logger, for
# example, contacts a server, and must not hide among the arguments of a model.
SECTION_CLASSES: dict[str, tuple[type, ...]] = {
    "model": (nn.Module,),
    "data": (LightningDataModule,),
    "trainer": (Trainer,),
    "optimizer": (Optimizer,),
    "scheduler": (LRScheduler,),
    "callbacks": (Callback,),
    "logger": (Logger,),
}
NESTED_CLASSES = (nn.Module, Optimizer, LRScheduler)

CHECK_KEYS = "Check the keys next to its _target_."
REINSTALL = "Reinstall the packages with `make setup`."
# Classes that any config may name, also the config of a run from someone else. Trusting packages is not enough: torch
# has classes that run programs on construction. LightningModule and torchmetrics' Metric are nn.Modules.
ALLOWED_BASE_CLASSES = (nn.Module, LightningDataModule, Trainer, Optimizer, LRScheduler, Callback, Logger)


def locate(target: str) -> Any:
    """Import the class, class method or function with this import path.

    Raises:
        ConfigError: If it does not exist, or a config must not call it.
        MissingPackageError: If importing it requires a package that is not installed.
    """
    validate_trusted(target)
    found = import_attribute(target)
    is_class = isinstance(found, type) and issubclass(found, ALLOWED_BASE_CLASSES) and is_trusted(found.__module__)
    if not is_class and not (callable(found) and target in list_config_targets()):
        bases = ", ".join(base.__name__ for base in ALLOWED_BASE_CLASSES)
        raise ConfigError(
            f"'{target}' cannot be a _target_. Use a subclass of one of: {bases}. Other classes and functions must be "
            "named in a file of configs/."
        )
    return found


def validate_classes(config: dict[str, Any]) -> None:
    """Check that each section of a config names classes of its own kind.

    Args:
        config: Sections by name; a section of `SECTION_CLASSES` that is missing or empty is skipped.

    Raises:
        ConfigError: If a section names another class.
    """
    for section, classes in SECTION_CLASSES.items():
        node = config.get(section) or {}
        entries = list_active_entries(node) if section in ("callbacks", "logger") else [node]
        for entry in filter(None, entries):
            validate_class(section, entry["_target_"], classes)
            for name, value in entry.items():
                validate_nested_classes(f"{section}.{name}", value)


def validate_nested_classes(path: str, value: Any) -> None:
    """Check the classes inside an argument.

    Raises:
        ConfigError: If one of them is not in `NESTED_CLASSES`.
    """
    if isinstance(value, dict) and "_target_" in value:
        validate_class(path, value["_target_"], NESTED_CLASSES)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        validate_nested_classes(f"{path}.{name}", item)


def validate_class(path: str, target: str, classes: tuple[type, ...]) -> None:
    """Check that an import path names one of some classes, or a function that a file of configs/ names.

    Raises:
        ConfigError: If it names another class.
    """
    found = locate(target)
    if isinstance(found, type) and not issubclass(found, classes):
        names = " or ".join(known.__name__ for known in classes)
        raise ConfigError(f"{path} cannot be a {found.__name__}. Use a subclass of {names}.")


def import_attribute(target: str) -> Any:
    """Return the object with this import path; an attribute of a package hides a submodule of the same name.

    Raises:
        ConfigError: If it does not exist.
        MissingPackageError: If importing it requires a package that is not installed.
    """
    first, *names = target.split(".")
    path = first
    try:
        found: Any = import_module(first)
        for name in names:
            if inspect.ismodule(found) and not hasattr(found, name):
                import_module(f"{path}.{name}")
            found, path = getattr(found, name), f"{path}.{name}"
    except ImportError as error:
        missing = str(error.name)
        if isinstance(error, ModuleNotFoundError) and f"{target}.".startswith(f"{missing}."):
            raise ConfigError(
                f"Cannot find class '{target}'. Set _target_ to the import path of an installed class."
            ) from error
        fix = get_install_hint(missing.partition(".")[0]) if isinstance(error, ModuleNotFoundError) else REINSTALL
        raise MissingPackageError(f"{target} could not be imported: {error}. {fix}") from error
    except AttributeError as error:
        raise ConfigError(
            f"Cannot find class '{target}'. Set _target_ to the import path of an installed class."
        ) from error
    return found


def instantiate(node: dict[str, Any], /, *args: Any, **more: Any) -> Any:
    """Call what a config describes, like `hydra.utils.instantiate`; nested nodes are instantiated first.

    Args:
        node: `_target_`, and keyword arguments. Also `_args_`, `_partial_` and `_recursive_`, as in Hydra. Lists and
            mappings are passed as plain Python ones.
        args: Positional arguments.
        more: Further keyword arguments, which take precedence over the node.

    Raises:
        ConfigError: If the target does not exist or rejects the arguments.
    """
    nested = _instantiate_nested if node.get("_recursive_", True) else lambda value: value
    kwargs = {key: nested(value) for key, value in node.items() if key not in HYDRA_KEYS and key not in more} | more
    args = (*args, *nested(list(node.get("_args_", []))))
    target = locate(node["_target_"])
    if node.get("_partial_"):
        return functools.partial(target, *args, **kwargs)
    return call_target(target, *args, **kwargs)


def _instantiate_nested(value: Any) -> Any:
    if isinstance(value, dict):
        if "_target_" in value:
            return instantiate(value)
        return {key: _instantiate_nested(item) for key, item in value.items()}
    return [_instantiate_nested(item) for item in value] if isinstance(value, list) else value


def call_target(target: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a class or function; an error that a library raises because of the arguments becomes one line.

    Raises:
        ConfigError: If the target has other arguments, or rejects the values.
    """
    name = getattr(target, "__qualname__", str(target))
    try:
        inspect.signature(target).bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(f"Invalid arguments for {name}: {error}. {CHECK_KEYS}") from error
    except ValueError:
        pass  # a built-in function without a signature
    try:
        return target(*args, **kwargs)
    except Exception as error:  # libraries raise many kinds
        is_own_code = Path(extract_tb(error.__traceback__)[-1].filename).is_relative_to(SOURCE_DIR)
        if is_own_code or isinstance(error, OSError) or is_oom_error(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{name} rejected its arguments: {why.rstrip('.')}. {CHECK_KEYS}") from error


def instantiate_entries(group: dict[str, Any] | None) -> list[Any]:
    """Return the objects of a config group; see `list_active_entries`."""
    return [instantiate(node) for node in list_active_entries(group)]


def list_active_entries(group: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the entries of a config group, without those that are off.

    Disabled entries are skipped, switches whose main key is null, and entries without a `_target_`: the file of a model
    may set keys of a callback that `callbacks=none` leaves out.
    """
    nodes = [node for node in (group or {}).values() if node and "_target_" in node]
    return [node for node in nodes if not is_switched_off(node)]
