"""Deep learning from the first light on: `load` what was trained, or `build` what a command would."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firstlight.notebook import build, load

__all__ = ["build", "load"]


def __getattr__(name: str) -> object:
    """Fetch the two functions when they are asked for: they import torch, which takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from firstlight.command import quieten

    quieten()  # libraries warn while they are imported, too
    return getattr(import_module("firstlight.notebook"), name)
