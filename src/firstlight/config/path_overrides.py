"""Paths on the command line: "~" is expanded, and characters that Hydra's grammar does not allow are quoted."""

import os
import re

from firstlight.run.text import format_override, unquote_hydra

# The filter of `make runs` contains characters that Hydra's grammar does not allow either: "test/accuracy>0.9".
PATH_KEY = re.compile(
    r"\+{0,2}(?:(?:[\w.]*[._])?(?:dir|path|file|root|weights)|run|runs|resume|ckpt|input|output|init_from)|filter"
)
# Hydra reads these values as they are.
PLAIN_VALUE = re.compile(r"[\w./@+:-]*", re.ASCII)
QUOTED_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
# Lists, interpolations, functions such as choice(...), and escaped characters.
HYDRA_SYNTAX = re.compile(
    r"[\[{'\"]|.*\$\{|(?:choice|range|glob|interval|tag|shuffle|sort)\(|.*\\[,()\[\]{}:= ]", re.DOTALL
)


def normalize_path_overrides(overrides: list[str], is_sweep: bool = False) -> list[str]:
    """Return overrides in which each path is written as Hydra reads it, with "~" expanded.

    A path may contain parentheses, commas, brackets and letters of any language. Of a value that Hydra would read as a
    list, a function or several values, the path is meant if it exists.

    Args:
        overrides: Command-line overrides.
        is_sweep: Whether a key may have several values, separated by commas.
    """
    is_sweep = is_sweep or bool({"-m", "--multirun"} & {*overrides})
    return [_normalize(override, is_sweep) for override in overrides]


def _normalize(override: str, is_sweep: bool) -> str:
    key, sign, value = override.partition("=")
    if not sign or not PATH_KEY.fullmatch(key):
        return override
    if QUOTED_VALUE.fullmatch(value):
        text = unquote_hydra(value)
        return format_override(key, os.path.expanduser(text)) if text.startswith("~") else override
    if PLAIN_VALUE.fullmatch(value):
        return override
    path = os.path.expanduser(value)
    if not os.path.lexists(path):
        if HYDRA_SYNTAX.match(value):
            return override
        if is_sweep and "," in value:
            parts = [_normalize(f"{key}={part}", is_sweep).partition("=")[2] for part in value.split(",")]
            return f"{key}={','.join(parts)}"
    return format_override(key, path)
