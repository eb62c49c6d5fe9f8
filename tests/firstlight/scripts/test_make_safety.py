"""Neither make nor the shell evaluates what a user passes to a command."""

import sys

import pytest

from support.checkout import ROOT
from support.make_commands import forward_arguments, run_make

sys.path.insert(0, str(ROOT / "scripts"))
import make

# TOUCH stands for a command that creates a file.
UNSAFE_ARGUMENTS = [
    "name=$(shell TOUCH)",
    "name=${shell TOUCH}",
    "name=a $(shell TOUCH)=b PATH=c PATH",
    "name=a\nb: $(shell TOUCH)",
    "name='$(eval x := $(shell TOUCH))'",
    "notes=`TOUCH`;TOUCH",
    "+data.x=$(shell TOUCH)",
    "tags=[$$(TOUCH),$(error x)]",
    # Names of variables of the Makefile and of make itself.
    "module=$(shell TOUCH)",
    "exists=$(shell TOUCH)",
    "a.name=$(shell TOUCH)",
    "word=$(shell TOUCH)",
    "export=$(shell TOUCH)",
]


@pytest.mark.parametrize("argument", UNSAFE_ARGUMENTS)
def test_neither_make_nor_shell_evaluates_override(echo_python, tmp_path, argument):
    argument = argument.replace("TOUCH", f"touch {tmp_path}/mark")

    assert forward_arguments(echo_python, "train", argument) == [argument]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["ARGS", "NAMES", "PYTEST", "IS_PROJECT", "ANY_PYTHON", "DELETIONS"])
def test_neither_make_nor_shell_evaluates_variable_of_makefile(echo_python, tmp_path, name):
    unsafe = f"$(shell touch {tmp_path}/mark)"
    words = ["$(shell", "touch", f"{tmp_path}/mark)"] if name == "ARGS" else []

    assert forward_arguments(echo_python, "train", f"{name}={unsafe}") == words
    assert forward_arguments(echo_python, "train", **{name: unsafe}) == words
    assert not (tmp_path / "mark").exists()


def test_override_does_not_reach_environment_of_recipe(project_copy):
    (project_copy / "scripts/new.py").write_text(
        "import os\nprint(sorted({'name', 'seed', 'notes'} & set(os.environ)))\n"
    )

    assert run_make(project_copy, "new", f"PYTHON={sys.executable}", "name=a", "seed=1", "notes=x").stdout == "[]\n"


def test_flags_of_pytest_are_split_like_shell_words_but_not_evaluated(project_copy, tmp_path):
    (project_copy / "pytest.py").write_text("import sys\nprint(sys.argv[-3:])\n")
    flags = f"-k 'a or b' $(touch {tmp_path}/mark)"
    result = run_make(
        project_copy,
        "test",
        "READY=",
        f"PYTHON={sys.executable}",
        f"ARGS={flags}",
        PYTHONPATH=f"{project_copy}:{project_copy / 'src'}",
    )

    assert result.stdout == f"['a or b', '$(touch', '{tmp_path}/mark)']\n"
    assert not (tmp_path / "mark").exists()


def test_unclosed_quote_in_flags_is_rejected(echo_python):
    result = run_make(ROOT, "READY=", f"PYTHON={echo_python}", "train", "ARGS=-k 'a")

    assert 'Invalid value for ARGS: "-k \'a" (No closing quotation). Close each quote' in result.stdout + result.stderr


def test_parse_makeflags_keeps_newline_of_value():
    assert make.parse_makeflags("-k -- b=1 a=x\ny\\ z") == ["a=x\ny z", "b=1"]
