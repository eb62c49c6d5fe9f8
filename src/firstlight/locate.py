"""From a dotted path to the class it names: the one place where a setting chooses code."""

from importlib import import_module
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from firstlight.signature import is_trusted, require_trusted

# The packages alone are no fence: torch has classes that start a program when they are built.
KINDS = (LightningModule, LightningDataModule, Trainer, Optimizer, LRScheduler, Callback, Logger)


def locate(target: str) -> Any:
    """Import the class with this dotted path.

    Raises:
        ValueError: it cannot be imported, or is no class that a configuration may build.
    """
    require_trusted(target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(
            f"There is no {target} ({error}): give the dotted path of a class that is installed"
        ) from error
    if not isinstance(found, type) or not issubclass(found, KINDS) or not is_trusted(found.__module__):
        kinds = ", ".join(kind.__name__ for kind in KINDS)
        raise ValueError(f"A _target_ names a class of the kind {kinds}, but {target} is none: name such a class")
    return found
