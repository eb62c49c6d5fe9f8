"""Which values are secret: those of environment variables, and texts in the format of a key or token."""

import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

FORMATS_FILE = Path(__file__).with_name("secret_formats.toml")

# Names of environment variables in snake case. A short word counts only between underscores: PATH and PWD are not
# secret.
SECRET_ENV_NAME = re.compile(
    r"password|passwd|passphrase|passcode|secret|credential|token(?!iz)|apikey|(?:^|_)(?:keys?|pass|pat|psk|auth|bearer"
    r"|cookie|dsn|sas|jwt)(?:_|\d*$)|[a-z]key$|pgpass|_pwd$"
)
NOT_SECRET_ENV_NAME = re.compile(
    r"(?:^|_)(?:dir|path|file|home|root|sock|socket|host|port|url|uri|endpoint|name|user|type|mode|timeout)$"
)
# Shorter values, and these words, also occur in ordinary text.
MIN_LENGTH, MIN_DIGITS = 4, 6
ORDINARY_VALUES = (
    "true",
    "false",
    "none",
    "null",
    "auto",
    "basic",
    "disabled",
    "enabled",
    "never",
    "always",
    "default",
)
# Password=... in the connection string of a database.
CONNECTION_PASSWORD = re.compile(r"(?i)(?:^|[\s;?&'\"])(?:password|passwd|pwd)=(?!\$\{)([^\s;&'\"]+)")
# A value that may be a word of the configuration: resnet50, bf16-mixed, logs/train, BertModel, BBC, 2026-01-01.
LOWER, UPPER = (
    rf"{letters}{{1,16}}\d{{0,4}}(?:[ _.,/-](?:{letters}{{1,16}}\d{{0,4}}|\d{{1,4}}))*"
    for letters in ("[a-z]", "[A-Z]")
)
ORDINARY = re.compile(rf"{LOWER}|{UPPER}|(?:[A-Z][a-z]{{1,16}}){{1,3}}\d{{0,4}}|[\d.,:/-]+")
MIN_DISTINCTIVE_LENGTH = 8


@dataclass(frozen=True)
class SecretFormat:
    """The format of a key or token.

    Attributes:
        name: Its provider.
        expression: A regular expression.
        keywords: A text without any of these, in lower case, contains no such secret.
    """

    name: str
    expression: str
    keywords: tuple[str, ...]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compile the expression only if a text contains a keyword."""
        return re.compile(self.expression)


@cache
def load_secret_formats() -> tuple[SecretFormat, ...]:
    """Return the formats in secret_formats.toml."""
    formats = tomllib.loads(FORMATS_FILE.read_text(encoding="utf-8"))["formats"]
    return tuple(
        SecretFormat(entry["name"], add_boundaries(entry["pattern"]), tuple(entry["keywords"])) for entry in formats
    )


def add_boundaries(pattern: str) -> str:
    """Return a regular expression that matches only where no letter or digit precedes or follows."""
    flags, expression = ("(?i)", pattern[4:]) if pattern.startswith("(?i)") else ("", pattern)
    return rf"{flags}(?<![A-Za-z0-9])(?:{expression})(?![A-Za-z0-9])"


def is_secret_env_name(name: str) -> bool:
    """Return True if the name of an environment variable says that its value is secret."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return SECRET_ENV_NAME.search(snake) is not None and NOT_SECRET_ENV_NAME.search(snake) is None


def is_distinctive(secret: str) -> bool:
    """Return True if a secret cannot be mistaken for a word of the configuration, such as "checkpoints"."""
    return len(secret) >= MIN_DISTINCTIVE_LENGTH and ORDINARY.fullmatch(secret) is None


@lru_cache(maxsize=8)
def find_secret_values(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the secrets in environment variables, and the variable that has exactly this value, or "".

    Args:
        environment: Names and values of the variables.
    """
    secrets: dict[str, str] = {}
    for _, value in environment:
        secrets |= {part: "" for part in find_passwords(value) if is_long_enough(part) and part not in secrets}
    for name, value in environment:
        if is_secret_env_name(name) and is_long_enough(value) and not is_existing_path(value):
            secrets[value] = name
            # A private key or a JSON file may be printed line by line.
            lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
            secrets |= {line: "" for line in lines if is_distinctive(line) and "PRIVATE KEY" not in line}
    return secrets


def find_passwords(value: str) -> Iterator[str]:
    """Yield the passwords in a URL or connection string."""
    if "://" in value or "=" in value:
        url = next(item for item in load_secret_formats() if item.keywords == ("://",))
        for pattern in (url.pattern, CONNECTION_PASSWORD):
            for match in pattern.finditer(value):
                yield from {match.group(1), unquote(match.group(1))}


def is_long_enough(value: str) -> bool:
    """Return True if a value is long enough to be found in a text, and is not a usual word such as "true"."""
    return len(value) >= (MIN_DIGITS if value.isdigit() else MIN_LENGTH) and value.lower() not in ORDINARY_VALUES


def is_existing_path(value: str) -> bool:
    """Return True if a value is the path of an existing file: GOOGLE_APPLICATION_CREDENTIALS names one."""
    return (
        value.startswith(("/", "~/", "./", "../")) and "\n" not in value and os.path.exists(os.path.expanduser(value))
    )


def list_spellings(secret: str) -> set[str]:
    """Return a secret as it is written in a shell, in YAML, JSON, a URL, a Hydra override and a make command."""
    if re.fullmatch(r"[\w-]+", secret, re.ASCII):
        return {secret}
    unquoted = re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", secret)
    spellings = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    spellings |= {shlex.quote(secret).removeprefix("'").removesuffix("'"), quote(secret), quote(secret, ""), unquoted}
    spellings |= {quote_plus(secret), secret.replace("'", "''"), secret.replace("$", "$$")}
    return spellings | {re.sub(rf"(\\*){mark}", rf"\1\1\\{mark}", secret) for mark in "'\""}


@dataclass(frozen=True)
class SecretSearch:
    """Finds each spelling of some secrets in a text.

    Attributes:
        spellings: All spellings. Testing for each of them is faster than the pattern.
        pattern: Matches a spelling. A secret that may be an ordinary word is not found inside a word, a path or a
            dotted name.
    """

    spellings: tuple[str, ...]
    pattern: re.Pattern[str]

    def sub(self, replace: Callable[[str], str], text: str) -> str:
        """Return a text in which each spelling is replaced."""
        if any(spelling in text for spelling in self.spellings):
            return self.pattern.sub(lambda match: replace(match.group()), text)
        return text


@lru_cache(maxsize=8)
def make_secret_search(secrets: frozenset[str]) -> SecretSearch:
    """Return the search for some secrets."""
    inside: set[str] = set()
    alone: set[str] = set()
    for secret in secrets:
        (inside if is_distinctive(secret) else alone).update(list_spellings(secret))
    # The longest first, because one secret may be a prefix of another.
    inner, outer = ("|".join(map(re.escape, sorted(group, key=len, reverse=True))) for group in (inside, alone))
    parts = [*([inner] if inside else []), *([rf"(?<![\w./])(?:{outer})(?![\w/]|\.\w)"] if alone else [])]
    return SecretSearch((*inside, *alone), re.compile("|".join(parts)))
