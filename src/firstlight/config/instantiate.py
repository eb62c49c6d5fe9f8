"""Import the class that a `_target_` names and instantiate it: the only place where a config selects code."""

import inspect
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from firstlight.config.options import SOURCE_DIR
from firstlight.config.schema import is_trusted, validate_trusted
from firstlight.run.errors import ConfigError, MissingPackageError
from firstlight.run.failure import is_oom_error
from firstlight.run.packages import get_install_hint

CHECK_KEYS = "Check the keys next to its _target_."
REINSTALL = "Reinstall the packages with `make setup`."
# Trusting packages is not enough: torch has classes that run programs on construction.
ALLOWED_BASE_CLASSES = (LightningModule, LightningDataModule, Trainer, Optimizer, LRScheduler, Callback, Logger)


def locate(target: str) -> Any:
    """Import the class with this import path.

    Raises:
        ConfigError: If the class does not exist, or a config must not instantiate it.
        MissingPackageError: If importing it requires a package that is not installed.
    """
    validate_trusted(target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        missing = str(error.name)
        if isinstance(error, ModuleNotFoundError) and f"{target}.".startswith(f"{missing}."):
            raise ConfigError(
                f"Cannot find class '{target}'. Set _target_ to the import path of an installed class."
            ) from error
        fix = get_install_hint(missing.partition(".")[0]) if isinstance(error, ModuleNotFoundError) else REINSTALL
        raise MissingPackageError(f"{target} could not be imported: {error}. {fix}") from error
    if found is None:
        raise ConfigError(f"Cannot find class '{target}'. Set _target_ to the import path of an installed class.")
    if not isinstance(found, type) or not issubclass(found, ALLOWED_BASE_CLASSES) or not is_trusted(found.__module__):
        bases = ", ".join(base.__name__ for base in ALLOWED_BASE_CLASSES)
        raise ConfigError(f"'{target}' cannot be a _target_. Use a subclass of one of: {bases}.")
    return found


def instantiate(node: dict[str, Any], *args: Any, **more: Any) -> Any:
    """Instantiate the class that a config describes.

    Args:
        node: `_target_`, and keyword arguments of the class.
        args: Positional arguments.
        more: Further keyword arguments.

    Raises:
        ConfigError: If the class does not exist or rejects the arguments.
    """
    return call_class(locate(node["_target_"]), *args, **{key: node[key] for key in node if key != "_target_"}, **more)


def call_class(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a class; an error that a library raises because of the arguments becomes one line.

    Raises:
        ConfigError: If the class has other arguments, or rejects the values.
    """
    try:
        inspect.signature(cls).bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(f"Invalid arguments for {cls.__name__}: {error}. {CHECK_KEYS}") from error
    try:
        return cls(*args, **kwargs)
    except Exception as error:  # libraries raise many kinds
        is_own_code = Path(extract_tb(error.__traceback__)[-1].filename).is_relative_to(SOURCE_DIR)
        if is_own_code or isinstance(error, OSError) or is_oom_error(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{cls.__name__} rejected its arguments: {why.rstrip('.')}. {CHECK_KEYS}") from error
