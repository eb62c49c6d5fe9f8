"""README starts with the quick start and lists existing options; environment.yml matches pyproject.toml."""

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
def test_readme_first_screen_shows_quick_start():
    screen = "\n".join(TEXT.splitlines()[:60])
    steps = ["git clone ", "make train\n", "make train model=", "make sweep ", "make report\n"]

    assert sorted(steps, key=screen.index) == steps
    assert TEXT.index("\n## Quick start\n") < TEXT.index(steps[0])
    assert TEXT.index(steps[-1]) < TEXT.index("\n## Make it yours\n")


@template_only
def test_first_code_block_can_be_copied():
    first = iter_blocks("bash", [README])[0].splitlines()

    assert first == [*CLONE, "make train"]
    assert f"/{CLONE[1].removeprefix('cd ')}.git" in CLONE[0]


@template_only
def test_readme_length():
    assert len(TEXT.splitlines()) <= 230


@template_only
@pytest.mark.parametrize("group", ["model", "data"])
def test_readme_lists_existing_options(group):
    # The README need not list all options, such as your own models.
    rows = TEXT.partition(f"| `{group}=` |")[2].partition("\n\n")[0]
    listed = {name for cell in re.findall(r"^\|([^|]+)\|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}

    assert listed
    assert listed <= {name for name, _ in iter_options(group)}


def test_conda_python_matches_requires_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"python{project['requires-python']}" == environment["dependencies"][0]
    assert {"pytorch", "defaults"}.isdisjoint(environment["channels"])
