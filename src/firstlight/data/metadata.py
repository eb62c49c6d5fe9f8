"""Metadata of a datamodule: plain values, known after `setup`, that the constructor of a model may name."""

import functools
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningDataModule

from firstlight.run.errors import DataError


def load_metadata(data: LightningDataModule | None) -> dict[str, Any]:
    """Return the `metadata` of a datamodule, which is optional; an empty dict if there is none.

    A datamodule with metadata is prepared and set up here, and only here: a `setup` that splits at random would return
    another split when Lightning calls it again.

    Raises:
        DataError: If an entry is not a plain value.
    """
    if data is None or not hasattr(type(data), "metadata") or callable(type(data).metadata):  # type: ignore[attr-defined]
        return {}
    data.prepare_data()
    data.setup("fit")
    run_hooks_once(data)
    metadata: dict[str, Any] = dict(data.metadata)  # type: ignore[attr-defined]
    for name, value in metadata.items():
        if not is_plain(value):
            raise DataError(
                f"Invalid entry '{name}' in the metadata of {type(data).__name__}: expected a string, a number, a list "
                f"or a mapping, got {type(value).__name__}. Convert the value, or leave it out."
            )
    return metadata


def run_hooks_once(data: LightningDataModule) -> None:
    """Make the next calls of `prepare_data` and `setup("fit")` return at once; other stages are still set up."""
    # Partials, because a DataLoader worker may receive a pickled copy of the datamodule.
    data.prepare_data = functools.partial(skip_prepare_data)  # type: ignore[method-assign]
    data.setup = functools.partial(setup_other_stages, data.setup)  # type: ignore[method-assign, assignment]


def skip_prepare_data() -> None:
    """Do nothing: the data is prepared."""


def setup_other_stages(setup: Callable[[str], None], stage: str) -> None:
    """Set up any stage but "fit"."""
    if stage != "fit":
        setup(stage)


def is_plain(value: Any) -> bool:
    """Return True if a value consists of strings, numbers, booleans, None, lists and mappings only."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str | int) and is_plain(item) for name, item in value.items())
    return value is None or isinstance(value, str | int | float | bool)
