"""`make doctor` checks this machine, also before `make setup`."""

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
import json_output  # noqa: E402
from doctor_facts import TorchInfo  # noqa: E402
from doctor_rules import Finding  # noqa: E402

TOOLS = {
    "sw_vers": "echo 15.6",
    "sysctl": 'case "$2" in *brand_string) echo Apple M2 Pro;; hw.memsize) echo 17179869184;; '
    "*translated) echo 1;; *wired_limit_mb) echo 12000;; esac",
    "pmset": "[ \"$2\" = batt ] && echo \"Now drawing from 'Battery Power'\" || echo ' lowpowermode         1'",
}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Replace PATH by a directory that contains only the tools of macOS."""
    for name, line in TOOLS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the project before `make setup`, where python3 has no packages."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    # The Python that .venv was made from.
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys._base_executable}" -E -s -S "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    return tmp_path


def run_make(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    environment = {**inherited, "PATH": f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.usefixtures("tools")
def test_read_machine_on_mac():
    machine = facts.read_machine("Darwin")

    assert machine[:3] == ("macOS", "15.6", "Apple M2 Pro")
    assert (machine.ram_bytes, machine.translated, machine.wired_limit_mb) == (2**34, True, 12000)
    assert [finding.status for finding in rules.check_power(machine)] == ["warn", "warn"]


def test_mac_without_tools_has_no_findings(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = facts.read_machine("Darwin")

    assert machine[:3] == ("macOS", "", "")
    assert rules.check_system(machine).status == "ok"
    assert rules.check_power(machine) == []


def test_torch_import_error_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    assert facts.detect_torch_accelerators().error.startswith("ModuleNotFoundError: ")


def test_invalid_watermark_ratios_do_not_hide_torch(monkeypatch):
    def raise_error():
        raise RuntimeError("invalid low watermark ratio 1.4")

    mps = SimpleNamespace(is_built=lambda: True, is_available=lambda: True)
    cuda = SimpleNamespace(is_available=lambda: False)
    torch = SimpleNamespace(backends=SimpleNamespace(mps=mps), cuda=cuda)
    torch.mps = SimpleNamespace(recommended_max_memory=raise_error)
    monkeypatch.setitem(sys.modules, "torch", torch)

    assert facts.detect_torch_accelerators() == TorchInfo(built=True, available=True)


@pytest.mark.parametrize("command", ["no-such-tool", "false"])
def test_missing_or_failing_command_returns_empty_string(command):
    assert facts.run_command(command) == ""


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
def test_api_key_lookup(tmp_path, netrc, environment, expected):
    (tmp_path / ".netrc").write_text(netrc)

    assert expected is facts.has_api_key(environment, tmp_path)


def test_missing_netrc_means_no_api_key(tmp_path):
    assert facts.has_api_key({}, tmp_path) is False


def test_write_check_leaves_no_file(tmp_path):
    error = facts.probe_write_access(tmp_path)

    assert error == ""
    assert list(tmp_path.iterdir()) == []


def test_missing_directory_is_not_writable(tmp_path):
    assert facts.probe_write_access(tmp_path / "logs") == "No such file or directory"


def test_required_packages_depend_on_extras(copy):
    text = (copy / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(re.sub(r"(?m)^extras = .*", 'extras = ["text"]', text))
    assert set(facts.read_pins(copy)) == set(facts.PACKAGES)

    (copy / "pyproject.toml").write_text(re.sub(r"(?m)^extras = .*", 'extras = ["dev"]', text))
    assert set(facts.PACKAGES) - set(facts.read_pins(copy)) == {"transformers"}


@pytest.mark.parametrize(("age_s", "command"), [(-60, "make setup"), (60, "make clean setup")])
def test_complete_environment_is_recreated(tmp_path, age_s, command):
    (tmp_path / ".venv").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/base.lock", "pyproject.toml", ".venv/ready"):
        (tmp_path / name).touch()
    mtime = (tmp_path / "pyproject.toml").stat().st_mtime + age_s
    os.utime(tmp_path / ".venv/ready", (mtime, mtime))

    assert command == doctor.get_install_command(tmp_path, is_project_env=True, is_conda=False)


def test_incomplete_environment_is_completed(tmp_path):
    assert doctor.get_install_command(tmp_path, is_project_env=True, is_conda=False) == "make setup"


def test_conda_installs_extras_with_pip(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.firstlight]\nextras = ["hub", "dev"]\n')

    assert doctor.get_install_command(tmp_path, is_project_env=True, is_conda=True).endswith('-e ".[hub,dev]"')


@pytest.mark.parametrize(("active", "fix"), [("zephyr", "pip install"), ("firstlight", "make "), ("", "make ")])
def test_conda_environment_name_comes_from_environment_yml(tmp_path, monkeypatch, active, fix):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "environment.yml").write_text("# name: none\nname: zephyr\ndependencies:\n")
    monkeypatch.setattr(facts, "read_versions", lambda: ({}, ""))
    findings = {finding.name: finding for finding in doctor.run_checks(tmp_path, {"CONDA_DEFAULT_ENV": active})}

    assert findings["packages"].fix.startswith(fix)


@pytest.mark.parametrize(
    ("statuses", "code", "summary"),
    [
        (["ok", "ok"], 0, "doctor: all checks passed"),
        (["ok", "warn"], 0, "doctor: 0 failed, 1 warning"),
        (["fail", "warn", "warn"], 1, "doctor: 1 failed, 2 warnings"),
    ],
)
def test_only_failures_change_exit_code(capsys, statuses, code, summary):
    exit_code = doctor.print_findings([Finding("disk", status, "text", "fix") for status in statuses])

    assert code == exit_code
    assert summary == capsys.readouterr().out.splitlines()[-1]


def test_lines_are_aligned_and_end_with_fix(capsys):
    doctor.print_findings([Finding("mps", "ok", "here"), Finding("variables", "fail", "bad", "unset it")])

    assert capsys.readouterr().out.splitlines()[:2] == [
        "ok    mps        here",
        "fail  variables  bad  ->  unset it",
    ]


def test_result_contains_the_findings(monkeypatch):
    monkeypatch.setattr(json_output, "_result", {})
    code = doctor.print_findings([Finding("mps", "ok", "here"), Finding("disk", "fail", "full", "tidy")])

    assert code == 1
    assert json_output._result == {
        "findings": [
            {"name": "mps", "status": "ok", "text": "here", "fix": ""},
            {"name": "disk", "status": "fail", "text": "full", "fix": "tidy"},
        ]
    }


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("doctor*.py")), ids=lambda path: path.name)
def test_scripts_are_valid_python_3_9(script):
    ast.parse(script.read_text(), feature_version=(3, 9))


def test_python_without_packages_suggests_setup_and_hides_api_key():
    command = [sys.executable, "-E", "-s", "-S", str(ROOT / "scripts/doctor.py")]
    environment = {**os.environ, "CONDA_DEFAULT_ENV": "", "WANDB_MODE": "", "WANDB_API_KEY": "a-secret"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)

    assert (result.returncode, result.stderr) == (1, "")
    assert "not installed: torch, " in result.stdout
    assert "->  make setup" in result.stdout
    assert "logged in" in result.stdout
    assert "a-secret" not in result.stdout


def test_make_doctor_does_not_run_setup(copy):
    result = run_make(copy, "doctor", "json=true")
    printed = json.loads(result.stdout)
    findings = {finding["name"]: finding for finding in printed["result"]["findings"]}

    assert result.returncode == 2
    assert printed["exit_code"] == 1
    assert (findings["packages"]["status"], findings["packages"]["fix"]) == ("fail", "make setup, then make doctor")
    assert findings["logs"]["fix"].startswith("mkdir -p logs")
    assert not (copy / ".venv").exists()


@pytest.mark.parametrize(
    ("targets", "arguments"), [(["doctor"], ["gpu=true", "--cfg", "a job"]), (["doctor", "help"], [])]
)
def test_doctor_ignores_settings_and_args_of_other_targets(copy, targets, arguments):
    (copy / "scripts/doctor.py").write_text("import sys\nprint(sys.argv[1:])\n")
    result = run_make(copy, *targets, "gpu=true", "ARGS=--cfg 'a job'")

    assert str(arguments) == result.stdout.splitlines()[0]
