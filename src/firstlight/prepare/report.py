"""Print what a training run reads, how to start it offline, and what could not be fetched."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from firstlight.config.options import SOURCE_DIR
from firstlight.prepare.used_files import UsedFiles, format_size, is_inside
from firstlight.run.download import list_hub_caches
from firstlight.run.errors import DataError, UserError
from firstlight.run.files import to_plain_dict
from firstlight.run.network import is_network_error
from firstlight.run.overrides import list_overrides
from firstlight.run.text import format_command, format_printable

# Variables that say where files are stored; the training run needs the same values.
CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_HOME", "XDG_CACHE_HOME")


def list_config_paths(cfg: DictConfig) -> list[str]:
    """Return the strings in the settings of model, data and initial weights that may be paths."""
    settings = to_plain_dict(cfg)
    values = iter_strings([settings.get(key) for key in ("model", "data", "init_from")])
    # A name such as "text" is one only if there is such a file.
    return list(dict.fromkeys(value for value in values if os.sep in value or os.path.exists(value)))


def iter_strings(value: Any) -> Iterator[str]:
    """Yield each string in nested lists and dictionaries, except import paths."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            if name != "_target_":
                yield from iter_strings(item)


def print_stores(used: UsedFiles) -> None:
    """Print each used file and directory with its size, and whether it is new."""
    stores = [path for path in sorted(used.stores) if os.path.exists(path)]
    if not stores:
        print("stored    nothing: model and data need no files besides the checkout and its packages", flush=True)
    for path in stores:
        shown = os.path.relpath(path) if is_inside(path, os.getcwd()) else path
        status = "new" if used.stores[path] else "present"
        print(f"{status:<8}  {format_printable(shown)}  ({format_size(path)})", flush=True)


def format_train_command(used: UsedFiles) -> str:
    """Return the command that trains without network access, with the variables that it needs."""
    variables = {name: os.environ[name] for name in CACHE_VARIABLES if os.environ.get(name)}
    caches = [os.path.abspath(path) for path in list_hub_caches(os.environ)]
    if used.addresses or any(is_inside(path, cache) for path in used.stores for cache in caches):
        variables["HF_HUB_OFFLINE"] = "1"  # otherwise, each request would wait until it fails
    words = [f"{name}={value}" for name, value in variables.items()]
    return format_command(*words, "make", "train", *list_overrides())


@contextmanager
def convert_network_errors(used: UsedFiles) -> Iterator[None]:
    """Raise a DataError for a network error of any library inside this context.

    Raises:
        DataError: If an address could not be reached; the message names it and the function that needs it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_network_error(error):
            raise
        address = used.last_address or "its files"
        detail = (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
        raise DataError(
            f"{find_caller(error)} could not fetch {address} ({detail}). Run `make prepare` on a machine with network "
            "access, and copy the files that it lists to the same paths here."
        ) from error


def find_caller(error: BaseException) -> str:
    """Return the last function of a project or of another package that is not a library of the network."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [code for code in frames if not is_library(code.co_filename)]
    return own[-1].co_qualname if own else "A library"


def is_library(file: str) -> bool:
    """Return True if a source file belongs to an installed package, to Python or to the engine."""
    engine = os.path.join(SOURCE_DIR, "firstlight")
    return "site-packages" in file or is_inside(file, engine) or is_inside(file, os.path.dirname(os.__file__))
