"""README shows the quick start first and names options that exist; environment.yml agrees with pyproject.toml."""

import re
import tomllib

import pytest
import yaml

from firstlight.config.options import iter_options
from support.checkout import ROOT
from support.doc_commands import CLONE, iter_blocks, template_only

README = ROOT / "README.md"
TEXT = README.read_text()


@template_only
def test_the_first_screen_shows_the_quick_start():
    screen = "\n".join(TEXT.splitlines()[:60])
    steps = ["git clone ", "make train\n", "make train model=", "make sweep ", "make report\n"]

    assert sorted(steps, key=screen.index) == steps
    assert TEXT.index("\n## Quick start\n") < TEXT.index(steps[0])
    assert TEXT.index(steps[-1]) < TEXT.index("\n## Make it yours\n")


@template_only
def test_the_first_block_can_be_copied():
    first = iter_blocks("bash", [README])[0].splitlines()

    assert first == [*CLONE, "make train"]
    assert f"/{CLONE[1].removeprefix('cd ')}.git" in CLONE[0]


@template_only
def test_it_is_short():
    assert len(TEXT.splitlines()) <= 230


@template_only
@pytest.mark.parametrize("group", ["model", "data"])
def test_the_readme_lists_options_that_exist(group):
    # Not the other way round: a model of yours need not be listed.
    rows = TEXT.partition(f"| `{group}=` |")[2].partition("\n\n")[0]
    listed = {name for cell in re.findall(r"^\|([^|]+)\|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}

    assert listed
    assert listed <= {name for name, _ in iter_options(group)}


def test_conda_brings_the_python_that_pyproject_allows():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"python{project['requires-python']}" == environment["dependencies"][0]
    assert {"pytorch", "defaults"}.isdisjoint(environment["channels"])
