"""Whether W&B's server can be used: what was asked for, whether there is a key, and whether it is good."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import wandb


def resolve_mode(mode: str) -> tuple[Any, str]:
    """Return online, offline or disabled, and why."""
    asked = os.environ.get("WANDB_MODE", mode)
    if asked in ("offline", "dryrun"):
        return "offline", "as asked"
    if asked != "auto":
        return asked, "as asked"
    try:
        found = has_api_key()
    except (wandb.errors.Error, ValueError) as error:
        return "offline", f"the API key is no good ({str(error).splitlines()[0]})"
    return ("online", "a key was found") if found else ("offline", "no API key found")


def has_api_key(verify: bool = False) -> bool:
    """Say whether there is a key for W&B's server; on request, ask the server whether it is good.

    Raises:
        wandb.errors.Error: it is not.
    """
    with silence_stderr():
        return wandb.login(prompt=False, verify=verify)


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Keep W&B's client from printing: what matters stands in our own line."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
