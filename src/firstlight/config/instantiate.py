"""From a dotted path to the class it names: the one place where a setting chooses code."""

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
from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.failure import is_oom_error

# The packages alone are no fence: torch has classes that start a program when they are built.
ALLOWED_BASE_CLASSES = (LightningModule, LightningDataModule, Trainer, Optimizer, LRScheduler, Callback, Logger)


def locate(target: str) -> Any:
    """Import the class with this dotted path.

    Raises:
        ValueError: it cannot be imported, or is no class that a configuration may build.
    """
    validate_trusted(target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        package = str(error.name).partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and package != target.partition(".")[0]:
            raise MissingPackageError(missing_package(name, package)) from error
        raise ValueError(
            f"There is no {target} ({error}): give the dotted path of a class that is installed"
        ) from error
    if not isinstance(found, type) or not issubclass(found, ALLOWED_BASE_CLASSES) or not is_trusted(found.__module__):
        kinds = ", ".join(kind.__name__ for kind in ALLOWED_BASE_CLASSES)
        raise ValueError(f"A _target_ names a class of the kind {kinds}, but {target} is none: name such a class")
    return found


def instantiate(node: dict[str, Any], *args: Any, **more: Any) -> Any:
    """Return the object that settings with a `_target_` describe.

    Args:
        node: `_target_`, and arguments of the class by name.
        args: Positional arguments before them.
        more: Further arguments by name.

    Raises:
        ValueError: If there is no such class, or it takes other arguments.
    """
    return call_class(locate(node["_target_"]), *args, **{key: node[key] for key in node if key != "_target_"}, **more)


def call_class(kind: Any, *parts: Any, **settings: Any) -> Any:
    """Build an object of a class; a library that refuses its settings is told in one sentence.

    Raises:
        ValueError: the class takes other settings, or other values.
    """
    try:
        inspect.signature(kind).bind(*parts, **settings)
    except TypeError as error:
        raise ValueError(
            f"{kind.__name__} is built of other settings ({error}): correct those beside its _target_"
        ) from error
    try:
        return kind(*parts, **settings)
    except Exception as error:  # libraries raise many kinds
        ours = Path(extract_tb(error.__traceback__)[-1].filename).is_relative_to(SOURCE_DIR)
        if ours or isinstance(error, OSError) or is_oom_error(error):
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{kind.__name__} refuses its settings ({why}): correct those beside its _target_") from error
