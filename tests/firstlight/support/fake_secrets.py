"""Fake secrets, made at run time: scanners of source code would report them."""

import random
import re
import string
import tomllib
from collections.abc import Iterator
from functools import cache

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from firstlight.run.secret_values import FORMATS_FILE

NUM_EXAMPLES = 5
LETTERS = string.ascii_letters + "0123456789"


@cache
def make_secrets(name: str) -> list[tuple[str, str]]:
    """Return texts in a format of secret_formats.toml, each with the secret in it."""
    patterns = {entry["name"]: entry["pattern"] for entry in tomllib.loads(FORMATS_FILE.read_text())["formats"]}
    # Hypothesis ignores what a lookahead asserts.
    pattern = re.compile(patterns[name].replace("(?=@)", "@"), re.ASCII)
    found: list[tuple[str, str]] = []

    @seed(0)
    @settings(
        max_examples=NUM_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
    def collect(text: str) -> None:
        match = pattern.fullmatch(text)
        found.append((text, match.group(match.lastindex or 0)))

    collect()
    return found


def make_random_text(length: int, number: int) -> str:
    """Return random letters and numerals."""
    return "".join(random.Random(number).choices(LETTERS, k=length))


def iter_secrets() -> Iterator[tuple[str, str]]:
    """Yield one text, and the secret in it, of each format."""
    for entry in tomllib.loads(FORMATS_FILE.read_text())["formats"]:
        yield make_secrets(entry["name"])[-1]
