"""The forms of `input=`: a file, a directory, a glob pattern, or a list of these."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.run.errors import DataError, invalid_value, not_found

EXPECTED = "a file, a directory, a glob pattern or a list of these"
# A longer value is a text, and not the path of a file.
MAX_SHOWN_CHARACTERS = 60


def find_input_paths(value: Any) -> list[Path]:
    """Return the existing paths that `input=` names, in the given order; the paths of a pattern are sorted.

    Args:
        value: A path, a glob pattern such as "photos/**/*.jpg", or a list of these. An existing path is never a
            pattern, although file names may contain brackets.

    Raises:
        DataError: If a form is not supported, or a path does not exist.
    """
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not values:
        raise DataError(invalid_value("input", [], EXPECTED, "Use e.g. input=photos/."))
    return list(dict.fromkeys(path for item in values for path in expand_input(item)))


def expand_input(value: Any) -> list[Path]:
    """Return the paths of one entry of `input=`.

    Raises:
        DataError: If its form is not supported, or it does not exist.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # Hydra parses the name 2024 as a number
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        raise DataError(invalid_value("input", value, EXPECTED, "Use e.g. input=photos/."))
    text = os.path.expanduser(str(value))
    if os.path.exists(text):
        return [Path(text)]
    if text == "-":
        raise DataError("input=- (standard input) is not supported. Save the inputs to a file, and pass its path.")
    if re.match(r"[a-zA-Z][\w+.-]*://", text):
        raise DataError(f"input={text} is a URL, which is not supported. Download the file, and pass its path.")
    if is_glob_pattern(text):
        if paths := [Path(path) for path in sorted(glob.glob(text, recursive=True))]:
            return paths
        raise DataError(f"No file matches input={text}. Use e.g. 'input=photos/**/*.jpg' to include subdirectories.")
    shown = text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
    raise DataError(
        not_found(f"input={shown}", f"Use {EXPECTED}. To predict a single text, save it in a CSV file with a header.")
    )


def is_glob_pattern(text: str) -> bool:
    """Return True if a string contains a wildcard and no characters that only occur in sentences."""
    return glob.has_magic(text) and len(text) < 4096 and "\n" not in text and "? " not in text and text[-1:] != "?"
