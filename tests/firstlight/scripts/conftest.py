"""Fixtures: a small template and a project made from it, and what the Makefile needs."""

import shutil
import sys

import pytest

from support.checkout import ROOT
from support.template_update import originals, project, template

__all__ = ["originals", "project", "template"]


@pytest.fixture
def project_copy(tmp_path):
    """Return a copy of the files that the Makefile reads, before `make setup`."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    patterns = ("src/firstlight/*.py", "src/firstlight/*/__main__.py", "src/*/__init__.py")
    for module in [path for pattern in patterns for path in ROOT.glob(pattern)]:
        copied = tmp_path / module.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.touch()
    return tmp_path


@pytest.fixture
def echo_python(tmp_path):
    """Return the path of a Python that only prints the arguments of the command."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import make\nmake.os.execve = lambda python, arguments, environment: print(repr(arguments[4:]))\n"
        "make.run_module(sys.argv[3])\n"
    )
    python.chmod(0o755)
    return python
