"""Where things are in this checkout."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
# `make init` adds this table to the pyproject.toml of a project.
IS_TEMPLATE = "[tool.firstlight.template]" not in (ROOT / "pyproject.toml").read_text()
# The project: the only other package beside the engine. None in a checkout of the engine alone.
PROJECT = next(
    (file.parent for file in sorted(ROOT.glob("src/*/__init__.py")) if file.parent.name != "firstlight"), None
)
# A project that was made with `make init` says which template it is of.
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("tool", {})
IS_TEMPLATE = "template" not in TOOLS.get("firstlight", {})
