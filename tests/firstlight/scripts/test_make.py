"""Arguments of `make <command>` reach Hydra verbatim."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import make

ARGUMENTS = [
    "model=net",
    "+x=y",
    "++z=1",
    "a=[1,2]",
    "b='c d'",
    "p=${now:%Y}",
    "q=a;b",
    "glob=*",
    "dollar=$HOME",
    'quote="x"',
    "back=a\\b",
    "d={a: 1}",
    "h=a#b",
    "hydra/launcher=joblib",
    "pkg@enc=1",
    "data.batch_size=8,16",
    "tick=`id`",
    "equals=a=b",
]


HELP = (ROOT / "scripts/help.txt").read_text().splitlines()


def find_help_entry(name: str) -> list[str]:
    """Return the lines of help.txt about a command."""
    entries = re.split(r"\n(?=\S|\n)", "\n".join(HELP))
    return [line for entry in entries if entry.startswith(f"make {name} ") for line in entry.splitlines()]


@pytest.fixture
def copy(tmp_path):
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


def run_make(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Run make in a directory, outside of any conda environment."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    command = ["make", "--no-print-directory", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**inherited, **variables})


@pytest.fixture
def echo_python(tmp_path):
    """Return the path of a Python that only prints the arguments of the command."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import make\nmake.os.execve = lambda python, arguments, environment: print(repr(arguments[3:]))\n"
        "make.run_module(sys.argv[3])\n"
    )
    python.chmod(0o755)
    return python


def forward_arguments(python: Path, *arguments: str, **variables: str) -> list[str]:
    """Return the arguments that a command of the Makefile receives."""
    command = ["make", "--no-print-directory", "-C", str(ROOT), "READY=", f"PYTHON={python}", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, capture_output=True, text=True, env={**environment, **variables})
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)


def test_arguments_are_forwarded_verbatim_and_in_order(echo_python):
    assert forward_arguments(echo_python, "train", *ARGUMENTS) == ARGUMENTS


@pytest.mark.parametrize("flags", [["-s"], ["-k"], ["-j2"]])
def test_flags_of_make_are_not_forwarded(echo_python, flags):
    assert forward_arguments(echo_python, *flags, "train", "model=net") == ["model=net"]


def test_deletions_are_forwarded(echo_python):
    assert forward_arguments(echo_python, "train", "~callbacks.curves", "seed=1") == ["seed=1", "~callbacks.curves"]


def test_args_are_forwarded(echo_python):
    assert forward_arguments(echo_python, "train", "ARGS=--cfg job", "a=1") == ["a=1", "--cfg", "job"]


def test_last_value_of_repeated_key_wins(echo_python):
    assert forward_arguments(echo_python, "train", "a=1", "a=2") == ["a=2"]


def test_parse_makeflags_of_make_3_81():
    assert make.parse_makeflags(r"p=$${x} b='c\ d' model=net") == ["model=net", "b='c d'", "p=${x}"]


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


def test_override_does_not_reach_environment_of_recipe(echo_python, copy):
    (copy / "scripts/new.py").write_text("import os\nprint(sorted({'name', 'seed', 'notes'} & set(os.environ)))\n")

    assert run_make(copy, "new", f"PYTHON={sys.executable}", "name=a", "seed=1", "notes=x").stdout == "[]\n"


def test_flags_of_pytest_are_split_like_shell_words_but_not_evaluated(copy, tmp_path):
    (copy / "pytest.py").write_text("import sys\nprint(sys.argv[-3:])\n")
    flags = f"-k 'a or b' $(touch {tmp_path}/mark)"
    result = run_make(copy, "test", "READY=", f"PYTHON={sys.executable}", f"ARGS={flags}", PYTHONPATH=str(copy))

    assert result.stdout == f"['a or b', '$(touch', '{tmp_path}/mark)']\n"
    assert not (tmp_path / "mark").exists()


def test_unclosed_quote_in_flags_is_rejected(echo_python):
    result = run_make(ROOT, "READY=", f"PYTHON={echo_python}", "train", "ARGS=-k 'a")

    assert "Invalid value for ARGS: \"-k 'a\" (No closing quotation). Close each quote" in result.stdout + result.stderr


def test_parse_makeflags_keeps_newline_of_value():
    assert make.parse_makeflags("-k -- b=1 a=x\ny\\ z") == ["a=x\ny z", "b=1"]


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_scripts_receive_arguments(copy, name):
    (copy / f"scripts/{name}.py").write_text("import sys\nprint(sys.argv[1:])\n")
    result = run_make(copy, name, f"PYTHON={sys.executable}", "x=a;b c", "ARGS=--flag")

    assert (result.returncode, result.stdout) == (0, "['x=a;b c', '--flag']\n")


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_scripts_run_before_setup(copy, name):
    (copy / f"scripts/{name}.py").write_text("print('started')\n")

    assert run_make(copy, name).stdout == "started\n"


@pytest.mark.parametrize(("target", "nearest"), [("trian", "train"), ("sweeep", "sweep"), ("evalute", "evaluate")])
def test_unknown_target_suggests_nearest_command(target, nearest):
    result = subprocess.run(["make", "-C", str(ROOT), target], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"Unknown command '{target}'. Did you mean `make {nearest}`?" in result.stderr


def test_unknown_target_next_to_known_one_is_rejected():
    result = subprocess.run(["make", "-C", str(ROOT), "train", "net"], capture_output=True, text=True)

    assert result.returncode == 2
    assert "Unknown command 'net'" in result.stderr


def test_make_without_target_lists_all_commands():
    output = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True).stdout

    assert len(make.COMMANDS) > 20
    assert all(f"make {name}" in output for name in make.COMMANDS if name != "help")


@pytest.mark.parametrize("name", make.COMMANDS)
def test_every_listed_command_has_a_rule(name):
    result = run_make(ROOT, "-n", "READY=", f"PYTHON={sys.executable}", name)

    assert result.returncode == 0, result.stderr
    assert name == "setup" or "Nothing to be done" not in result.stdout


@pytest.mark.parametrize("name", ["export", "wandb-sync"])
def test_deleted_command_is_not_available(copy, name):
    module = copy / "src/firstlight" / name.replace("-", "_")
    shutil.rmtree(module) if module.is_dir() else module.with_suffix(".py").unlink()
    result = run_make(copy, name)

    assert result.returncode == 2
    assert f"Unknown command '{name}'" in result.stderr
    output = run_make(copy).stdout
    assert f"make {name}" not in output
    assert output.splitlines() == [line for line in HELP if line not in find_help_entry(name)]
    assert run_make(copy, "-n", "READY=", "train").returncode == 0


def test_make_test_runs_own_package_in_project_and_all_in_template(copy):
    package = PROJECT.name if PROJECT else "none"
    text = re.sub(r"\[tool\.firstlight\.template\][^\[]*", "", (copy / "pyproject.toml").read_text())
    (copy / "pyproject.toml").write_text(text)
    template = run_make(copy, "-n", "READY=", "test").stdout
    (copy / "pyproject.toml").write_text(f'{text}\n[tool.firstlight.template]\nversion = "0.1.0"\n')
    project = run_make(copy, "-n", "READY=", "test").stdout

    assert template.endswith(' -o "testpaths=tests"\n')
    assert project.endswith(f' -o "testpaths=tests/{package}"\n')
    assert run_make(copy, "-n", "READY=", "test-engine").stdout.endswith(" -o testpaths=tests/firstlight\n")


@pytest.mark.parametrize(("active", "python"), [("zephyr", "python "), ("other", ".venv/bin/python "), ("", ".venv")])
def test_python_of_active_conda_environment_is_used(copy, active, python):
    text = (copy / "environment.yml").read_text()
    (copy / "environment.yml").write_text(re.sub("(?m)^name: .*", "name: zephyr", text))

    assert run_make(copy, "-n", "train", CONDA_DEFAULT_ENV=active).stdout.splitlines()[-1].startswith(python)


def test_venv_is_used_without_environment_yml(copy):
    (copy / "environment.yml").unlink()

    assert run_make(copy, "-n", "train", CONDA_DEFAULT_ENV="base").stdout.splitlines()[-1].startswith(".venv")


def test_project_can_add_targets(tmp_path):
    for name in ("Makefile", "pyproject.toml", "environment.yml", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Makefile").unlink()
    text = (ROOT / "Makefile").read_text().replace("\nOWN :=\n", "\nOWN := prune\n")
    (tmp_path / "Makefile").write_text(f"{text}\nprune:\n\t@echo pruned\n")
    result = subprocess.run(["make", "-C", str(tmp_path), "prune"], capture_output=True, text=True)

    assert "pruned" in result.stdout, result.stderr
