"""Optional packages of models, datasets and formats: whether they are installed, and how to install them."""

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


def get_install_hint(package: str, extra: str = "") -> str:
    """Return the sentence that says how to install a package.

    Args:
        package: Name of the package or of its module.
        extra: The extra that includes the package; if omitted, it is looked up in the lock files.
    """
    extra = extra or _find_extra(package)
    if not extra:
        return "Add it to the dependencies in pyproject.toml, then run `make lock setup`."
    if extra == "base" or extra in _list_selected_extras():
        return "Install it with `make setup`."
    return (
        f"Install it with `uv pip install -e '.[{extra}]'`, or add {extra!r} to `extras` in pyproject.toml and run "
        "`make setup`."
    )


def _find_extra(package: str) -> str:
    """Return the name of the first lock that pins a package; "" if none does."""
    pin = re.compile(rf"^{re.escape(package.lower().replace('_', '-'))}==", re.MULTILINE)
    files = sorted((ROOT / "requirements").glob("*.lock"))
    return next((file.stem for file in files if pin.search(file.read_text(encoding="utf-8"))), "")


def _list_selected_extras() -> list[str]:
    """Return the extras that `make setup` installs."""
    file = ROOT / "pyproject.toml"
    settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return list(settings.get("tool", {}).get("firstlight", {}).get("extras", []))
