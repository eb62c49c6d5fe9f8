"""Project template for PyTorch Lightning: `create` an experiment or `load` a trained run."""

import os
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

# `python -m firstlight.train` puts the working directory in front of the standard library, so that a file of yours
# with a name such as profile.py would take the place of a standard module, here and in the processes of this run.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[0] != os.path.dirname(__path__[0]):
    del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"


def __getattr__(name: str) -> object:
    """Import the API on first use, because importing torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from firstlight.cli.console import suppress_library_noise
    from firstlight.run.environment import prepare_process

    prepare_process()  # before Lightning is imported, which reads rank variables
    suppress_library_noise()  # some libraries warn during import
    return getattr(import_module("firstlight.api"), name)
