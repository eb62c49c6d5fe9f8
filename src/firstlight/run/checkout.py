"""Check that a command in a checkout runs the sources of this checkout."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from firstlight.run.errors import ConfigError


def is_checkout(root: Path) -> bool:
    """Return True if a directory is the root of a checkout, whose configs a command uses."""
    return (root / "configs").is_dir() and (root / "src/firstlight/__init__.py").is_file()


def find_foreign_package(root: Path) -> tuple[str, Path] | None:
    """Return the first package in src/ of a checkout that Python imports from elsewhere, and its directory there."""
    for file in sorted((root / "src").glob("*/__init__.py")):
        spec = find_spec(file.parent.name)
        if spec is not None and spec.origin and not Path(spec.origin).resolve().samefile(file):
            return file.parent.name, Path(spec.origin).parent
    return None


def validate_checkout(root: Path) -> None:
    """Check that Python imports the sources of a checkout; nothing is checked elsewhere.

    An environment belongs to its checkout: after `cp -r` or `mv`, its entry for src/ still names the old directory.

    Args:
        root: The working directory.

    Raises:
        ConfigError: If a package in src/ is imported from another checkout or installation.
    """
    foreign = find_foreign_package(root) if is_checkout(root) else None
    if foreign is None:
        return
    name, directory = foreign
    paths = [Path(path).resolve() for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if directory.resolve().parent in paths:
        fix = f"Unset PYTHONPATH, or set it to {root / 'src'}."
    elif Path(sys.prefix).resolve() != (root / ".venv").resolve() and (root / ".venv").exists():
        fix = "Use make, or .venv/bin/python of this checkout."
    else:
        fix = "The checkout was probably copied or moved: run `make clean setup` in it (conda: `pip install -e .`)."
    raise ConfigError(
        f"Changes in {root} would have no effect, because {name} is imported from {directory}, which belongs to "
        f"another checkout or installation. {fix}"
    )
