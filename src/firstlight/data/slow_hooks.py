"""Show that a hook of a datamodule of any project takes long: it may download, scan or tokenize."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from firstlight.data.datamodule import LabeledDataModule
from firstlight.run.progress import show_progress

HOOKS = ("prepare_data", "setup")
Owner = TypeVar("Owner", bound=LightningDataModule | LightningModule)


def show_slow_hooks(owner: Owner) -> Owner:
    """Show the progress of `prepare_data` and `setup`, and return the owner. Datasets of the engine do so themselves.

    Args:
        owner: A datamodule, or a module with dataloaders of its own; changed in place.
    """
    for name in HOOKS:
        if not isinstance(owner, LabeledDataModule) and is_overridden(name, owner):
            # A partial, because a DataLoader worker may receive a pickled copy of the owner.
            hook = functools.partial(run_hook, getattr(owner, name), f"{type(owner).__name__}.{name}")
            setattr(owner, name, hook)
    return owner


def run_hook(hook: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
    """Run a hook; if it takes long, its name is shown."""
    with show_progress(f"Running {name}"):
        return hook(*args, **kwargs)
