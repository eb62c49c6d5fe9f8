"""Command-line overrides without secrets: Hydra, submitit and W&B write them to files."""

import os

from firstlight.run.redaction import ValueRedactor
from firstlight.run.secret_values import find_secret_values, list_spellings

# Environment variables for secrets that are in no other variable.
ENV_PREFIX = "FIRSTLIGHT_SECRET_"


def move_secrets_to_environment(overrides: list[str]) -> list[str]:
    """Return overrides in which each secret is replaced by the environment variable that contains it.

    Hydra resolves the interpolation, here and in the processes that a launcher starts: they inherit the variables. If
    no variable has the value, one is set.
    """
    known = find_secret_values(tuple(os.environ.items()))
    names = {spelling: (name, secret) for secret, name in known.items() for spelling in list_spellings(secret)}

    def interpolate(secret: str) -> str:
        name, value = names.get(secret, ("", secret))
        if not name:
            name = f"{ENV_PREFIX}{1 + sum(variable.startswith(ENV_PREFIX) for variable in os.environ)}"
            os.environ[name] = value
            names[secret] = name, value
        return f"${{oc.env:{name}}}"

    redactor = ValueRedactor(frozenset(known), interpolate)
    return [override if override.startswith("-") else redactor.redact_override(override) for override in overrides]
