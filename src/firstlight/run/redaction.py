"""Mask API keys and passwords in everything that a run writes."""

import os
import re
from functools import cache
from typing import Any

# Environment variables whose values are secret.
SECRET_ENV_NAMES = re.compile("key|token|secret|password", re.IGNORECASE)
# Shorter values, such as "true", also occur in ordinary text.
MIN_SECRET_LENGTH = 8

SECRET_KEYS = ("key", "api_key", "token", "access_token", "auth_token", "hf_token", "secret", "password")
# On a command line, such as logger.comet.api_key=...
SECRET_OVERRIDE = re.compile(rf"(\.(?:{'|'.join(SECRET_KEYS)})=)('[^']*'|\"[^\"]*\"|\S+)")

MASK = "***"


def redact(value: Any) -> Any:
    """Return nested plain values with every secret replaced by "***".

    A secret is the value of an environment variable whose name contains key, token, secret or password, wherever it
    occurs in a string, and the value of every key in `SECRET_KEYS`.
    """
    secrets = [text for name, text in os.environ.items() if SECRET_ENV_NAMES.search(name)]
    return _redact(value, frozenset(secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH))


def _redact(value: Any, secrets: frozenset[str]) -> Any:
    match value:
        case str():
            known = _compile_secrets_pattern(secrets).sub(MASK, value) if secrets else value
            return SECRET_OVERRIDE.sub(rf"\1{MASK}", known) if "=" in known else known
        case dict():
            return {name: MASK if _is_secret(name, item) else _redact(item, secrets) for name, item in value.items()}
        case list() | tuple():
            return [_redact(item, secrets) for item in value]
    return value


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and str(name).lower().rpartition(".")[2] in SECRET_KEYS


@cache
def _compile_secrets_pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    # The longest first, because one secret may be a prefix of another.
    return re.compile("|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)))
