"""Mask API keys and passwords in everything that a run writes."""

import os
import re
import time
from collections.abc import Callable
from typing import Any

from firstlight.run.secret_values import (
    find_secret_values,
    is_distinctive,
    load_secret_formats,
    make_secret_search,
)

MASK = "***"

# Names of keys whose value is secret, alone or after a prefix such as "db_".
SECRET_KEY_NAMES = (
    "password|passwd|passphrase|secret|api_?key|api_?token|secret_key|private_key|access_key|access_token|auth_token"
    "|hf_token|refresh_token|connection_string"
)
SECRET_KEY = re.compile(rf"(?i)(?:.*[_.-])?(?:{SECRET_KEY_NAMES})|(?:.*\.)?(?:key|token|pwd|dsn)")
# In a text, such as a command line, a shell script or a connection string: sorted(rows, key=name) states no secret.
SECRET_NAME_IN_TEXT = re.compile(
    rf"(?i:(?:.*[_.-])?(?:{SECRET_KEY_NAMES}|pwd)|.*\.(?:key|token|dsn))|[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PWD|PAT)"
)
# key=value, "key": "value", and key: value at the end of a line. The possessive quantifier keeps the search linear.
ASSIGNMENT = re.compile(
    r"(?<![\w.-])([\w.-]++)"
    r"(?:=(?='([^'\n]*)'|\"([^\"\n]*)\"|([^\s;&'\"]+))|[\"']: ?(?=[\"']([^\"'\n]+))|: (?=(\S+)$))",
    re.MULTILINE,
)

# Keys whose value is a text for people, in which also a secret that is an ordinary word is masked.
TEXT_KEYS = ("tags", "notes", "group", "description", "reason")
# Keys whose value is read again as a path or an import path: masking a part of it would change what is read.
PATH_KEY = re.compile(
    r"(?:.*_)?(?:dir|dirs|path|paths|file|files|root|dirpath|filename|ckpt|checkpoint)|_target_|weights|resume|runs?"
    r"|input|output|best|last|checkpoints"
)

# Values of an override that can be replaced by an interpolation: quoted strings and plain words, swept over or not.
SIMPLE_VALUE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|,|[^,'\"()\[\]{}]+|\$\{[^}]*\}")

# Templates and variables in source code: {password}, $PASSWORD, <token>, [^"].
PLACEHOLDER = re.compile(r"[{}$<>\[\]()*\\|]")

# Seconds after which a log looks for new environment variables. Reading them takes longer than searching a line.
REFRESH_INTERVAL_S = 1.0


def redact(value: Any) -> Any:
    """Return nested plain values with every secret replaced by "***".

    A secret is the value of an environment variable whose name says so (DB_PASSWORD), a password in a URL, a text in
    the format of a key or token (secret_formats.toml), and the value of a key such as `api_key`. Keys and paths stay
    unchanged. A secret that is an ordinary word, such as "checkpoints", is replaced only in texts for people: names,
    tags, notes and messages.
    """
    return ValueRedactor(read_secrets(), mask).redact(value, ())


def redact_text(text: str) -> str:
    """Return a text for people with every secret replaced by "***"."""
    return replace_secrets(text, read_secrets(), mask)


def redact_override(override: str) -> str:
    """Return a command-line override with the secrets in its value replaced by "***"."""
    return ValueRedactor(read_secrets(), mask).redact_override(override)


def mask(secret: str) -> str:
    """Return "***"."""
    return MASK


def read_secrets() -> frozenset[str]:
    """Return the secrets in the environment variables."""
    return frozenset(find_secret_values(tuple(os.environ.items())))


def find_distinctive_secrets() -> frozenset[str]:
    """Return the secrets in the environment variables that cannot be mistaken for ordinary words."""
    return frozenset(filter(is_distinctive, read_secrets()))


def contains_secret(text: str, secrets: frozenset[str]) -> bool:
    """Return True if a file contains one of the secrets, or a distinctive text in the format of a key or token.

    Values of keys such as `password` do not count: source code passes them as arguments.
    """
    found: list[str] = []

    def collect(secret: str) -> str:
        found.append(secret)
        return secret

    replace_known_and_formats(text, secrets, collect)
    return any(is_distinctive(secret) and PLACEHOLDER.search(secret) is None for secret in found)


class LogRedactor:
    """Masks the secrets in the lines of a log."""

    def __init__(self) -> None:
        self.secrets: frozenset[str] = frozenset()
        self.read_at_s = -REFRESH_INTERVAL_S

    def __call__(self, text: str) -> str:
        """Return a text with secrets masked."""
        if (now_s := time.monotonic()) - self.read_at_s >= REFRESH_INTERVAL_S:
            self.secrets, self.read_at_s = read_secrets(), now_s
        return replace_secrets(text, self.secrets, mask)


class ValueRedactor:
    """Replaces the secrets in the values of a config.

    Args:
        secrets: Known secrets.
        replace: Returns the replacement of a secret.
    """

    def __init__(self, secrets: frozenset[str], replace: Callable[[str], str]) -> None:
        self.secrets = secrets
        self.distinctive_secrets = frozenset(filter(is_distinctive, secrets))
        self.replace = replace

    def redact(self, value: Any, path: tuple[str, ...]) -> Any:
        """Return a value of a config with its secrets replaced.

        Args:
            value: Nested plain values.
            path: Names of the keys that lead to the value.
        """
        match value:
            case str():
                return self.redact_string(value, path)
            case dict():
                return {name: self.redact_entry(item, (*path, str(name))) for name, item in value.items()}
            case list():
                return [self.redact(item, path) for item in value]
            case tuple():
                return tuple(self.redact(item, path) for item in value)
        return value

    def redact_entry(self, value: Any, path: tuple[str, ...]) -> Any:
        """Return the value of a key with its secrets replaced; the name of the key may say that all of it is secret."""
        if isinstance(value, str) and value and is_secret_key(path[-1]):
            return value if value.startswith("${") else self.replace(value)
        return self.redact(value, path)

    def redact_string(self, text: str, path: tuple[str, ...]) -> str:
        """Return a string of a config with its secrets replaced; a path stays unchanged."""
        if path[-1:] in (("overrides",), ("jobs",), ("task",)):
            return self.redact_override(text)
        if path and PATH_KEY.fullmatch(path[-1]) and "://" not in text:
            return text
        is_text = not path or path[-1] in TEXT_KEYS or path == ("name",) or (path[0] == "logger" and path[-1] == "name")
        return replace_secrets(text, self.secrets if is_text else self.distinctive_secrets, self.replace)

    def redact_override(self, override: str) -> str:
        """Return a command-line override with the secrets in its value replaced."""
        key, sign, value = override.partition("=")
        path = tuple(key.lstrip("+~").split("."))
        if not sign or not re.fullmatch(r"[+~]*[\w./@:-]+", key):
            return override
        if is_secret_key(path[-1]) and (values := SIMPLE_VALUE.findall(value)) and "".join(values) == value:
            parts = [part if is_plain_value(part) else self._replace_quoted(part) for part in values]
            return f"{key}={''.join(parts)}"
        return f"{key}={self.redact_string(value, path)}"

    def _replace_quoted(self, value: str) -> str:
        quote = value[0] if value[0] in "'\"" else ""
        text = value[1:-1].replace(f"\\{quote}", quote) if quote else value
        return f"{quote}{self.replace(text)}{quote}"


def replace_secrets(text: str, secrets: frozenset[str], replace: Callable[[str], str]) -> str:
    """Return a text in which each secret is replaced.

    Args:
        text: Any text.
        secrets: Known secrets.
        replace: Returns the replacement of a secret.
    """
    text = replace_known_and_formats(text, secrets, replace)
    if "=" in text or ":" in text:
        text = _replace_groups(ASSIGNMENT, text, replace, lambda match: SECRET_NAME_IN_TEXT.fullmatch(match.group(1)))
    return text


def replace_known_and_formats(text: str, secrets: frozenset[str], replace: Callable[[str], str]) -> str:
    """Return a text in which each known secret, and each text in the format of a key or token, is replaced."""
    text = make_secret_search(secrets).sub(replace, text)
    lower = text.lower()
    for secret_format in load_secret_formats():
        if any(keyword in lower for keyword in secret_format.keywords):
            text = _replace_groups(secret_format.pattern, text, replace)
    return text


def is_secret_key(name: str) -> bool:
    """Return True if the name of a config key says that its value is secret."""
    return SECRET_KEY.fullmatch(name) is not None


def is_plain_value(text: str) -> bool:
    """Return True if a value of an override is a separator, a number, a null or an interpolation, and not a secret."""
    return text in (",", "null", "true", "false", "''", '""') or text.lstrip("'\"").startswith("${") or text.isdigit()


def _replace_groups(
    pattern: re.Pattern[str],
    text: str,
    replace: Callable[[str], str],
    is_secret: Callable[[re.Match[str]], Any] = lambda match: True,
) -> str:
    """Replace the last group that matched, or the match if the pattern has no groups; interpolations are no secrets."""
    parts, position = [], 0
    for match in pattern.finditer(text):
        start, end = match.span(match.lastindex or 0)
        secret = text[start:end]
        if start >= position and secret and not secret.startswith(("${", MASK)) and is_secret(match):
            parts += [text[position:start], replace(secret)]
            position = end
    return "".join([*parts, text[position:]]) if parts else text
