"""The parts of environment.yml are valid. No package index has a conda client, which would create the environment.

test_readme.py compares its Python versions with pyproject.toml, and test_lock.py its extras.
"""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from support.checkout import ROOT

FILE = ROOT / "environment.yml"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="this project has no environment.yml")
ENVIRONMENT = yaml.safe_load(FILE.read_text()) if FILE.exists() else {"dependencies": []}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_SPECS = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
PIP_PARTS = [entry for entry in ENVIRONMENT["dependencies"] if not isinstance(entry, str)]
# A package with version constraints, such as python>=3.11,<3.14 or numpy=2.
VERSION = r"(===?|=|!=|>=|<=|>|<|~=)\d[\w.]*(\.\*)?"
CONDA_SPEC = re.compile(rf"[a-z0-9_][a-z0-9_.-]*({VERSION}([,|]{VERSION})*)?")


def run_uv(*arguments):
    """Run uv in the directory of environment.yml, as conda runs pip, and return its output."""
    done = subprocess.run(["uv", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("spec", CONDA_SPECS)
def test_conda_entry_is_a_valid_spec(spec):
    assert CONDA_SPEC.fullmatch(spec)


@pytest.mark.parametrize("spec", ["python>=>3", "python >=3", "-e .", "python>=3.11,<", "python>=3.11;<3.14"])
def test_invalid_spec_is_found(spec):
    assert not CONDA_SPEC.fullmatch(spec)


def test_keys_of_environment_are_known_to_conda():
    assert list(ENVIRONMENT) == ["name", "channels", "dependencies"]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in [ENVIRONMENT["name"], *ENVIRONMENT["channels"]])


def test_pip_part_is_the_last_entry_and_pip_is_installed():
    assert [list(part) for part in PIP_PARTS] == [["pip"]]
    assert ENVIRONMENT["dependencies"][-1] is PIP_PARTS[0]
    assert "pip" in CONDA_SPECS


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="requires uv, which resolves without downloading packages")
def test_pip_part_resolves(tmp_path):
    # conda passes the entries to pip in a requirements file.
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(PIP_PARTS[0]["pip"]) + "\n")
    run_uv("venv", "--quiet", "--python", sys.executable, str(tmp_path / "env"))
    planned = run_uv("pip", "install", "--dry-run", "--python", str(tmp_path / "env"), "-r", str(requirements))
    # The newest version in the range, which conda selects.
    allowed = SpecifierSet(PROJECT["requires-python"])
    newest = max(minor for minor in range(11, 40) if f"3.{minor}" in allowed)
    resolved = run_uv("pip", "compile", "--python-version", f"3.{newest}", str(requirements))

    assert re.search(rf"^ \+ {PROJECT['name']}\b", planned, re.MULTILINE)
    assert re.search(r"^torch==", resolved, re.MULTILINE)
    # The parser of a conda client, without its channels.
    run_uv("pip", "install", "--quiet", "--python", str(tmp_path / "env"), "py-rattler==0.28.0")
    parse = "import sys; from rattler import MatchSpec; [MatchSpec(spec) for spec in sys.argv[1:]]"
    subprocess.run([tmp_path / "env" / "bin" / "python", "-c", parse, *CONDA_SPECS], check=True)
