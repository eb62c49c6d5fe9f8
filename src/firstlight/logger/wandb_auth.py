"""W&B mode and API key: whether a run can be online."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import wandb

from firstlight.run.errors import ConfigError, get_first_line, invalid_value

MODES = ("auto", "online", "offline", "disabled")


def resolve_mode(mode: str) -> tuple[Any, str]:
    """Return the mode of a run and the reason for it.

    Args:
        mode: "online", "offline", "disabled", or "auto" for online if an API key is found. The environment variable
            WANDB_MODE takes precedence.

    Returns:
        "online", "offline" or "disabled", and the reason.

    Raises:
        ConfigError: If WANDB_MODE is unknown.
    """
    requested = os.environ.get("WANDB_MODE") or mode
    requested = {"dryrun": "offline", "run": "online"}.get(requested, requested)  # W&B's older names
    if requested not in MODES:
        expected = f"one of {', '.join(MODES)}"
        raise ConfigError(invalid_value("WANDB_MODE", requested, expected, "Unset it, or use e.g. WANDB_MODE=offline."))
    if requested != "auto":
        return requested, "as requested"
    try:
        has_key = has_api_key()
    except (wandb.errors.Error, ValueError) as error:
        return "offline", f"invalid API key ({get_first_line(error)})"
    return ("online", "API key found") if has_key else ("offline", "no API key found")


def has_api_key(verify: bool = False) -> bool:
    """Return True if an API key for the W&B server is configured.

    Args:
        verify: Whether to verify the key with the server.

    Raises:
        wandb.errors.Error: If the key is invalid, or the server does not accept it.
        ValueError: If the key has an invalid format.
    """
    with silence_stderr():
        return wandb.login(prompt=False, verify=verify)


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Suppress the messages of the W&B client; the run header prints the relevant information."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
