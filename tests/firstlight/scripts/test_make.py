"""Arguments of `make <command>` reach Hydra verbatim."""

import re
import shutil
import subprocess
import sys

import pytest

from support.checkout import PROJECT, ROOT
from support.make_commands import forward_arguments, run_make

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


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_scripts_receive_arguments(project_copy, name):
    (project_copy / f"scripts/{name}.py").write_text("import sys\nprint(sys.argv[1:])\n")
    result = run_make(project_copy, name, f"PYTHON={sys.executable}", "x=a;b c", "ARGS=--flag")

    assert (result.returncode, result.stdout) == (0, "['x=a;b c', '--flag']\n")


@pytest.mark.parametrize("name", ["init", "new", "update", "lock"])
def test_scripts_run_before_setup(project_copy, name):
    (project_copy / f"scripts/{name}.py").write_text("print('started')\n")

    assert run_make(project_copy, name).stdout == "started\n"


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
def test_deleted_command_is_not_available(project_copy, name):
    module = project_copy / "src/firstlight" / name.replace("-", "_")
    shutil.rmtree(module) if module.is_dir() else module.with_suffix(".py").unlink()
    result = run_make(project_copy, name)

    assert result.returncode == 2
    assert f"Unknown command '{name}'" in result.stderr
    output = run_make(project_copy).stdout
    assert f"make {name}" not in output
    assert output.splitlines() == [line for line in HELP if line not in find_help_entry(name)]
    assert run_make(project_copy, "-n", "READY=", "train").returncode == 0


def test_make_test_runs_own_package_in_project_and_all_in_template(project_copy):
    package = PROJECT.name if PROJECT else "none"
    text = re.sub(r"\[tool\.firstlight\.template\][^\[]*", "", (project_copy / "pyproject.toml").read_text())
    (project_copy / "pyproject.toml").write_text(text)
    template = run_make(project_copy, "-n", "READY=", "test").stdout
    (project_copy / "pyproject.toml").write_text(f'{text}\n[tool.firstlight.template]\nversion = "0.1.0"\n')
    project = run_make(project_copy, "-n", "READY=", "test").stdout

    assert template.endswith(' -o "testpaths=tests"\n')
    assert project.endswith(f' -o "testpaths=tests/{package}"\n')
    assert run_make(project_copy, "-n", "READY=", "test-engine").stdout.endswith(" -o testpaths=tests/firstlight\n")


@pytest.mark.parametrize(("active", "python"), [("zephyr", "python "), ("other", ".venv/bin/python "), ("", ".venv")])
def test_python_of_active_conda_environment_is_used(project_copy, active, python):
    text = (project_copy / "environment.yml").read_text()
    (project_copy / "environment.yml").write_text(re.sub("(?m)^name: .*", "name: zephyr", text))

    assert run_make(project_copy, "-n", "train", CONDA_DEFAULT_ENV=active).stdout.splitlines()[-1].startswith(python)


def test_venv_is_used_without_environment_yml(project_copy):
    (project_copy / "environment.yml").unlink()

    assert run_make(project_copy, "-n", "train", CONDA_DEFAULT_ENV="base").stdout.splitlines()[-1].startswith(".venv")


def test_project_can_add_targets(tmp_path):
    for name in ("Makefile", "pyproject.toml", "environment.yml", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Makefile").unlink()
    text = (ROOT / "Makefile").read_text().replace("\nOWN :=\n", "\nOWN := prune\n")
    (tmp_path / "Makefile").write_text(f"{text}\nprune:\n\t@echo pruned\n")
    result = subprocess.run(["make", "-C", str(tmp_path), "prune"], capture_output=True, text=True)

    assert "pruned" in result.stdout, result.stderr
