"""Validate the settings of the weights from which a training run starts, and of those that stay frozen."""

import ast
from typing import Any

from firstlight.config.annotations import describe_annotation, matches_annotation
from firstlight.run.errors import ConfigError, invalid_value


def validate_initial_weights(settings: dict[str, Any]) -> None:
    """Check the types of the settings of `init_from`, `freeze` and `unfreeze`.

    Raises:
        ConfigError: If a value has another type.
    """
    expected = {"path": "str | None", "strict": "bool"}
    values = {f"init_from.{key}": (value, expected[key]) for key, value in (settings.get("init_from") or {}).items()}
    values |= {key: (settings.get(key, []), "list[str]") for key in ("freeze", "unfreeze")}
    for key, (value, annotation) in values.items():
        parsed = ast.parse(annotation, mode="eval").body
        if not matches_annotation(parsed, value):
            raise ConfigError(invalid_value(key, value, describe_annotation(parsed)))
