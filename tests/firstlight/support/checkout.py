"""The root, the project and the kind of this checkout."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Directory of the project's package, the only package in src/ except the engine. None if there is no such package.
PROJECT = next(
    (file.parent for file in sorted(ROOT.glob("src/*/__init__.py")) if file.parent.name != "firstlight"), None
)
# `make init` adds the table [tool.firstlight.template] to the pyproject.toml of a project.
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("tool", {})
IS_TEMPLATE = "template" not in TOOLS.get("firstlight", {})
