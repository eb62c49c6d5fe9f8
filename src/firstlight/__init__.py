"""Project template for PyTorch Lightning: `create` an experiment or `load` a trained run."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firstlight.api import create, load

# While Python locates the module of `python -m firstlight.train`. Its imports take seconds.
if sys.argv[:1] == ["-m"]:
    from firstlight.run.signals import exit_on_signals_during_import

    exit_on_signals_during_import()

__all__ = ["create", "load"]


def __getattr__(name: str) -> object:
    """Import the API on first use, because importing torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from firstlight.cli.console import suppress_library_noise

    suppress_library_noise()  # some libraries warn during import
    return getattr(import_module("firstlight.api"), name)
