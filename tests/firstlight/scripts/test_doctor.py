"""`make doctor` reads the machine it runs on, and tells what it found, before setup too."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import doctor  # noqa: E402
import doctor_facts as facts  # noqa: E402
import doctor_rules as rules  # noqa: E402
from doctor_facts import Torch  # noqa: E402
from doctor_rules import Finding  # noqa: E402

TOOLS = {
    "sw_vers": "echo 15.6",
    "sysctl": 'case "$2" in *brand_string) echo Apple M2 Pro;; hw.memsize) echo 17179869184;; '
    "*translated) echo 1;; *wired_limit_mb) echo 12000;; esac",
    "pmset": "[ \"$2\" = batt ] && echo \"Now drawing from 'Battery Power'\" || echo ' lowpowermode         1'",
}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Put a Mac's tools, and no others, on the PATH."""
    for name, line in TOOLS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the project that is not set up, where python3 has no packages."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -E -s -S "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    environment = {**inherited, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.usefixtures("tools")
def test_a_mac_is_read_from_its_tools():
    machine = facts.read_machine("Darwin")

    assert machine[:3] == ("macOS", "15.6", "Apple M2 Pro")
    assert (machine.ram_bytes, machine.translated, machine.wired_limit_mb) == (2**34, True, 12000)
    assert [finding.status for finding in rules.judge_power(machine)] == ["warn", "warn"]


def test_a_mac_without_its_tools_is_unknown_but_not_at_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = facts.read_machine("Darwin")

    assert machine[:3] == ("macOS", "", "")
    assert rules.judge_system(machine).status == "ok"
    assert rules.judge_power(machine) == []


def test_a_torch_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    assert facts.read_torch().error.startswith("ModuleNotFoundError: ")


def test_a_torch_that_refuses_the_ratios_is_still_there(monkeypatch):
    def refuse():
        raise RuntimeError("invalid low watermark ratio 1.4")

    def yes():
        return True

    def no():
        return False

    mps = SimpleNamespace(is_built=yes, is_available=yes)
    torch = SimpleNamespace(backends=SimpleNamespace(mps=mps), cuda=SimpleNamespace(is_available=no))
    torch.mps = SimpleNamespace(recommended_max_memory=refuse)
    monkeypatch.setitem(sys.modules, "torch", torch)

    assert facts.read_torch() == Torch(built=True, available=True)


@pytest.mark.parametrize("command", ["no-such-tool", "false"])
def test_a_tool_that_is_absent_or_fails_says_nothing(command):
    assert facts.output(command) == ""


@pytest.mark.parametrize(
    ("netrc", "environment", "expected"),
    [
        ("", {}, False),
        ("", {"WANDB_API_KEY": "k"}, True),
        ("machine api.wandb.ai login user password k\n", {}, True),
        ("machine example.org login user password k\n", {}, False),
        ("machine api.wandb.ai login user password k\n", {"WANDB_BASE_URL": "https://example.org"}, False),
        ("machine\n", {}, False),
    ],
)
def test_a_key_is_found_where_wandb_looks(tmp_path, netrc, environment, expected):
    (tmp_path / ".netrc").write_text(netrc)

    assert expected is facts.read_key(environment, tmp_path)


def test_no_netrc_is_no_key(tmp_path):
    assert facts.read_key({}, tmp_path) is False


def test_a_folder_is_left_as_it_was(tmp_path):
    error = facts.read_write_error(tmp_path)

    assert error == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    assert facts.read_write_error(tmp_path / "logs") == "No such file or directory"


def test_a_package_is_needed_if_an_extra_of_the_project_brings_it(copy):
    text = (copy / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(re.sub(r"(?m)^extras = .*", 'extras = ["text"]', text))
    assert set(facts.read_pins(copy)) == set(facts.PACKAGES)

    (copy / "pyproject.toml").write_text(re.sub(r"(?m)^extras = .*", 'extras = ["dev"]', text))
    assert set(facts.PACKAGES) - set(facts.read_pins(copy)) == {"transformers"}


@pytest.mark.parametrize(("age_s", "command"), [(-60, "make setup"), (60, "make clean setup")])
def test_a_finished_environment_is_made_anew(tmp_path, age_s, command):
    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/base.lock", "pyproject.toml", ".venv/ready"):
        (tmp_path / name).touch()
    made = (tmp_path / "pyproject.toml").stat().st_mtime + age_s
    os.utime(tmp_path / ".venv/ready", (made, made))

    assert command == doctor.install_command(tmp_path, own=True, conda=False)


def test_an_unfinished_environment_is_finished(tmp_path):
    assert doctor.install_command(tmp_path, own=True, conda=False) == "make setup"


def test_in_conda_pip_installs_the_extras_of_the_project(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.firstlight]\nextras = ["hub", "dev"]\n')

    assert doctor.install_command(tmp_path, own=True, conda=True).endswith('-e ".[hub,dev]"')


@pytest.mark.parametrize(("active", "repair"), [("zephyr", "pip install"), ("firstlight", "make "), ("", "make ")])
def test_the_name_of_the_conda_environment_is_that_of_environment_yml(tmp_path, monkeypatch, active, repair):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "environment.yml").write_text("# name: none\nname: zephyr\ndependencies:\n")
    monkeypatch.setattr(facts, "read_versions", lambda: ({}, ""))
    findings = {finding.name: finding for finding in doctor.examine(tmp_path, {"CONDA_DEFAULT_ENV": active})}

    assert findings["packages"].repair.startswith(repair)


@pytest.mark.parametrize(
    ("statuses", "code", "summary"),
    [
        (["ok", "ok"], 0, "doctor: all well"),
        (["ok", "warn"], 0, "doctor: 0 failed, 1 warning"),
        (["fail", "warn", "warn"], 1, "doctor: 1 failed, 2 warnings"),
    ],
)
def test_only_a_failure_changes_the_exit_code(capsys, statuses, code, summary):
    left = doctor.report([Finding("disk", status, "text", "repair") for status in statuses], as_json=False)

    assert code == left
    assert summary == capsys.readouterr().out.splitlines()[-1]


def test_a_line_is_aligned_and_ends_with_the_repair(capsys):
    doctor.report([Finding("mps", "ok", "here"), Finding("variables", "fail", "bad", "unset it")], as_json=False)

    assert capsys.readouterr().out.splitlines()[:2] == [
        "ok    mps        here",
        "fail  variables  bad  ->  unset it",
    ]


def test_json_is_a_list_of_findings_and_nothing_else(capsys):
    code = doctor.report([Finding("mps", "ok", "here"), Finding("disk", "fail", "full", "tidy")], as_json=True)

    assert code == 1
    assert json.loads(capsys.readouterr().out) == [
        {"name": "mps", "status": "ok", "text": "here", "repair": ""},
        {"name": "disk", "status": "fail", "text": "full", "repair": "tidy"},
    ]


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("doctor*.py")), ids=lambda path: path.name)
def test_the_scripts_are_written_in_python_3_9(script):
    ast.parse(script.read_text(), feature_version=(3, 9))


def test_a_bare_python_is_told_to_set_up_and_no_key_is_printed():
    command = [sys.executable, "-E", "-s", "-S", str(ROOT / "scripts/doctor.py")]
    environment = {**os.environ, "CONDA_DEFAULT_ENV": "", "WANDB_MODE": "", "WANDB_API_KEY": "a-secret"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)

    assert (result.returncode, result.stderr) == (1, "")
    assert "the project's packages are not installed: torch, " in result.stdout
    assert "->  make setup" in result.stdout
    assert "logged in" in result.stdout
    assert "a-secret" not in result.stdout


def test_make_examines_a_project_without_setting_it_up(copy):
    result = make(copy, "doctor", "model=bert", "ARGS=--json")
    found = {finding["name"]: finding for finding in json.loads(result.stdout)}

    assert result.returncode == 2
    assert (found["packages"]["status"], found["packages"]["repair"]) == ("fail", "make setup, then make doctor")
    assert found["logs"]["repair"].startswith("mkdir -p logs")
    assert not (copy / ".venv").exists()


@pytest.mark.parametrize(("goals", "words"), [(["doctor"], "--cfg job"), (["doctor", "help"], "")])
def test_args_beside_another_command_are_not_the_doctors(copy, goals, words):
    (copy / "bin/python").write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$@"\n')
    (copy / "bin/python").chmod(0o755)
    result = make(copy, *goals, "model=bert", f"PYTHON={copy / 'bin/python'}", "ARGS=--cfg job")

    assert f"scripts/doctor.py {words}".strip() == result.stdout.splitlines()[0]
