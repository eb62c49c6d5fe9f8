"""Packages that only some models, datasets and formats need: is one installed, and if not, how to install it."""

import re
import tomllib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def is_installed(module: str) -> bool:
    """Return True if a top-level module can be imported; nothing is imported for this."""
    with suppress(ImportError, ValueError):
        return find_spec(module) is not None
    return False


def describe_missing_package(user: str, package: str, extra: str = "") -> str:
    """Return the sentence about a package that is not installed.

    Args:
        user: what needs the package, such as "model=bert".
        package: its name, or that of its module.
        extra: the extra that brings it; if omitted, the locks tell.
    """
    extra = extra or _find_extra(package)
    if not extra:
        return (
            f"{user} needs the package {package}, which is not installed: name it in pyproject.toml, then run "
            "`make lock setup`"
        )
    if extra == "base" or extra in _list_installed_extras():
        return f"{user} needs the package {package}, which is not installed: run `make setup`"
    return (
        f"{user} needs the package {package}, which is not installed: add {extra!r} to `extras` in pyproject.toml and "
        f"run `make setup`, or type `uv pip install -e '.[{extra}]'`"
    )


def _find_extra(package: str) -> str:
    """Return the name of the first lock that pins a package; "" if none does."""
    pin = re.compile(rf"^{re.escape(package.lower().replace('_', '-'))}==", re.MULTILINE)
    files = sorted((ROOT / "requirements").glob("*.lock"))
    return next((file.stem for file in files if pin.search(file.read_text(encoding="utf-8"))), "")


def _list_installed_extras() -> list[str]:
    """Return the extras that `make setup` installs."""
    file = ROOT / "pyproject.toml"
    settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return list(settings.get("tool", {}).get("firstlight", {}).get("extras", []))
