"""README shows the way in on its first screen, and names what there is; what it installs is as pyproject.toml says."""

import re
import tomllib

import pytest
import yaml

from firstlight.config.options import iter_options
from support.checkout import ROOT
from support.typed import template_only

README = (ROOT / "README.md").read_text()


@template_only
def test_the_first_screen_shows_the_whole_way():
    screen = "\n".join(README.splitlines()[:45])
    way = ["`make setup", "`make train`", "`make train model=", "`make sweep ", "`make report", "**Make it yours"]

    assert sorted(way, key=screen.index) == way


@template_only
def test_it_is_short():
    assert len(README.splitlines()) <= 150


@template_only
@pytest.mark.parametrize("group", ["model", "data"])
def test_the_readme_lists_choices_that_exist(group):
    # Not the other way round: a model of yours need not stand there.
    rows = README.partition(f"| {group}= |")[2].partition("\n\n")[0]
    listed = {name for cell in re.findall(r"^\|([^|]+)\|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}

    assert listed
    assert listed <= {name for name, _ in iter_options(group)}


def test_conda_brings_the_python_that_pyproject_allows():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"python{project['requires-python']}" == environment["dependencies"][0]
    assert {"pytorch", "defaults"}.isdisjoint(environment["channels"])
