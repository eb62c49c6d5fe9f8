"""Deep learning from the first light on: `load` what was trained, or `create` what a command would."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firstlight.api import create, load

__all__ = ["create", "load"]


def __getattr__(name: str) -> object:
    """Fetch the two functions when they are asked for: they import torch, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from firstlight.cli.console import suppress_library_noise

    suppress_library_noise()  # libraries warn while they are imported, too
    return getattr(import_module("firstlight.api"), name)
