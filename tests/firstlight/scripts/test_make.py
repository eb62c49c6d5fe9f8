"""Words after `make <command>` reach Hydra as they were typed."""

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

WORDS = [
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


def entry_of(name: str) -> list[str]:
    """Return the lines of help.txt about a program."""
    entries = re.split(r"\n(?=\S|\n)", "\n".join(HELP))
    return [line for entry in entries if entry.startswith(f"make {name} ") for line in entry.splitlines()]


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what the Makefile reads, which is not set up."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    patterns = ("src/firstlight/*.py", "src/firstlight/*/__main__.py", "src/*/__init__.py")
    for module in [path for pattern in patterns for path in ROOT.glob(pattern)]:
        copied = tmp_path / module.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.touch()
    return tmp_path


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Run make there, outside any conda environment."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    command = ["make", "--no-print-directory", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, env={**inherited, **variables})


@pytest.fixture
def makefile(tmp_path):
    """Return a folder with our Makefile, whose Python only prints the words it was given."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import make\nmake.os.execve = lambda python, words, environment: print(repr(words[3:]))\n"
        "make.run(sys.argv[3])\n"
    )
    python.chmod(0o755)
    return python


def words_of(python: Path, *words: str, **variables: str) -> list[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), "READY=", f"PYTHON={python}", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, capture_output=True, text=True, env={**environment, **variables})
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)


def test_every_word_arrives_as_typed_and_in_order(makefile):
    assert words_of(makefile, "train", *WORDS) == WORDS


@pytest.mark.parametrize("flags", [["-s"], ["-k"], ["-j2"]])
def test_flags_of_make_are_no_settings(makefile, flags):
    assert words_of(makefile, *flags, "train", "model=net") == ["model=net"]


def test_a_deletion_is_a_setting(makefile):
    assert words_of(makefile, "train", "~callbacks.curves", "seed=1") == ["seed=1", "~callbacks.curves"]


def test_args_hands_over_plain_flags(makefile):
    assert words_of(makefile, "train", "ARGS=--cfg job", "a=1") == ["a=1", "--cfg", "job"]


def test_the_same_word_twice_keeps_the_last(makefile):
    assert words_of(makefile, "train", "a=1", "a=2") == ["a=2"]


def test_make_3_81_passes_the_words_without_a_double_dash():
    assert make.overrides(r"p=$${x} b='c\ d' model=net") == ["model=net", "b='c d'", "p=${x}"]


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_a_script_gets_its_words_too(copy, name):
    (copy / f"scripts/{name}.py").write_text("import sys\nprint(sys.argv[1:])\n")
    result = run(copy, name, f"PYTHON={sys.executable}", "x=a;b c", "ARGS=--flag")

    assert (result.returncode, result.stdout) == (0, "['x=a;b c', '--flag']\n")


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_a_script_runs_before_setup(copy, name):
    (copy / f"scripts/{name}.py").write_text("print('started')\n")

    assert run(copy, name).stdout == "started\n"


@pytest.mark.parametrize(("goal", "near"), [("trian", "train"), ("sweeep", "sweep"), ("evalute", "evaluate")])
def test_an_unknown_goal_is_refused_with_the_nearest(goal, near):
    result = subprocess.run(["make", "-C", str(ROOT), goal], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"There is no command '{goal}': did you mean `make {near}`?" in result.stderr


def test_an_unknown_word_beside_a_command_stops_it():
    result = subprocess.run(["make", "-C", str(ROOT), "train", "net"], capture_output=True, text=True)

    assert result.returncode == 2
    assert "There is no command 'net'" in result.stderr


def test_make_alone_lists_every_command():
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True).stdout

    assert len(make.COMMANDS) > 20
    assert all(f"make {name}" in listed for name in make.COMMANDS if name != "help")


@pytest.mark.parametrize("name", make.COMMANDS)
def test_every_listed_command_has_a_rule(name):
    result = run(ROOT, "-n", "READY=", f"PYTHON={sys.executable}", name)

    assert result.returncode == 0, result.stderr
    assert name == "setup" or "Nothing to be done" not in result.stdout


@pytest.mark.parametrize("name", ["export", "wandb-sync"])
def test_a_command_that_was_deleted_is_no_longer_there(copy, name):
    module = copy / "src/firstlight" / name.replace("-", "_")
    shutil.rmtree(module) if module.is_dir() else module.with_suffix(".py").unlink()
    refused = run(copy, name)

    assert refused.returncode == 2
    assert f"There is no command '{name}'" in refused.stderr
    listed = run(copy).stdout
    assert f"make {name}" not in listed
    assert listed.splitlines() == [line for line in HELP if line not in entry_of(name)]
    assert run(copy, "-n", "READY=", "train").returncode == 0


def test_a_project_tests_its_own_package_and_the_template_everything(copy):
    own = PROJECT.name if PROJECT else "none"
    text = re.sub(r"\[tool\.firstlight\.template\][^\[]*", "", (copy / "pyproject.toml").read_text())
    (copy / "pyproject.toml").write_text(text)
    template = run(copy, "-n", "READY=", "test", "ARGS=-x").stdout
    (copy / "pyproject.toml").write_text(f'{text}\n[tool.firstlight.template]\nversion = "0.1.0"\n')
    project = run(copy, "-n", "READY=", "test", "ARGS=-x").stdout

    assert '-o "testpaths=tests" -x' in template
    assert f'-o "testpaths=tests/{own}" -x' in project
    assert "-o testpaths=tests/firstlight -x" in run(copy, "-n", "READY=", "test-engine", "ARGS=-x").stdout


@pytest.mark.parametrize(("active", "python"), [("zephyr", "python "), ("other", ".venv/bin/python "), ("", ".venv")])
def test_the_python_of_the_conda_environment_serves(copy, active, python):
    text = (copy / "environment.yml").read_text()
    (copy / "environment.yml").write_text(re.sub("(?m)^name: .*", "name: zephyr", text))

    assert run(copy, "-n", "train", CONDA_DEFAULT_ENV=active).stdout.splitlines()[-1].startswith(python)


def test_without_an_environment_of_conda_the_virtual_one_serves(copy):
    (copy / "environment.yml").unlink()

    assert run(copy, "-n", "train", CONDA_DEFAULT_ENV="base").stdout.splitlines()[-1].startswith(".venv")


def test_a_project_adds_a_target_of_its_own(tmp_path):
    for name in ("Makefile", "pyproject.toml", "environment.yml", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Makefile").unlink()
    text = (ROOT / "Makefile").read_text().replace("\nOWN :=\n", "\nOWN := prune\n")
    (tmp_path / "Makefile").write_text(f"{text}\nprune:\n\t@echo pruned\n")
    done = subprocess.run(["make", "-C", str(tmp_path), "prune"], capture_output=True, text=True)

    assert "pruned" in done.stdout, done.stderr
