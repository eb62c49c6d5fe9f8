"""Keep keys and passwords out of what a run writes."""

import os
import re
from functools import cache
from typing import Any

# Variables of the environment whose values are secret.
SECRET_ENV_NAMES = re.compile("key|token|secret|password", re.IGNORECASE)
# Shorter values are words such as "true", which other texts hold too.
MIN_SECRET_LENGTH = 8

SECRET_KEYS = ("key", "api_key", "token", "access_token", "auth_token", "hf_token", "secret", "password")
# As they are typed, behind the name of what they belong to: logger.comet.api_key=...
SECRET_OVERRIDE = re.compile(rf"(\.(?:{'|'.join(SECRET_KEYS)})=)('[^']*'|\"[^\"]*\"|\S+)")

MASK = "***"


def redact(value: Any) -> Any:
    """Return plain values of any depth with "***" for what is secret.

    That is, in each text, what a variable of the environment holds whose name speaks of a key, token, secret or
    password; and each setting that has one of `NAMES`.
    """
    variables = os.environ.items()
    return _redact(
        value,
        frozenset(each for name, each in variables if len(each) >= MIN_SECRET_LENGTH and SECRET_ENV_NAMES.search(name)),
    )


def _redact(value: Any, secrets: frozenset[str]) -> Any:
    match value:
        case str():
            known = _compile_secrets_pattern(secrets).sub(MASK, value) if secrets else value
            return SECRET_OVERRIDE.sub(rf"\1{MASK}", known) if "=" in known else known
        case dict():
            return {name: MASK if _is_secret(name, each) else _redact(each, secrets) for name, each in value.items()}
        case list() | tuple():
            return [_redact(each, secrets) for each in value]
    return value


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and str(name).lower().rpartition(".")[2] in SECRET_KEYS


@cache
def _compile_secrets_pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    # The longest first: one may be the start of another.
    return re.compile("|".join(re.escape(each) for each in sorted(secrets, key=len, reverse=True)))
