"""json=true of the scripts and of `make setup`: one object on stdout, everything else on stderr."""

import json
import subprocess
import sys

import pytest

from support.checkout import ROOT
from support.make_commands import run_make
from support.template_update import try_update

sys.path.insert(0, str(ROOT / "scripts"))
import json_output


def write_setup(root, script):
    """Replace the installation by a script."""
    (root / "scripts/setup.sh").write_text(f"echo progress\n{script}\n")


def test_setup_prints_the_object(project_copy):
    write_setup(project_copy, "mkdir .venv")
    result = run_make(project_copy, "setup", "json=true")
    again = run_make(project_copy, "setup", "json=true")

    assert (result.returncode, result.stderr) == (0, "progress\n")
    assert json.loads(result.stdout) == json.loads(again.stdout)
    assert json.loads(result.stdout) == {
        "command": "setup",
        "exit_code": 0,
        "result": {"environment": str(project_copy / ".venv")},
        "error": None,
    }


@pytest.mark.parametrize("target", ["setup", "train"])
def test_failed_setup_prints_the_object(project_copy, target):
    write_setup(project_copy, "exit 3")
    result = run_make(project_copy, target, "json=true")
    printed = json.loads(result.stdout)

    assert result.returncode == 2
    assert result.stderr.startswith("progress\n")
    assert (printed["command"], printed["exit_code"], printed["result"]) == ("setup", 3, None)
    assert printed["error"]["message"] == "The dependencies could not be installed. Use the messages on stderr."


def test_setup_without_json_prints_one_line(project_copy):
    write_setup(project_copy, "mkdir .venv")

    assert run_make(project_copy, "setup").stdout == f"setup: the environment in {project_copy / '.venv'} is ready\n"


@pytest.mark.parametrize(
    ("script", "arguments", "key", "value", "fix"),
    [
        ("new", ["model=my-net"], "model", "my-net", "Use e.g. model=my_net."),
        ("new", ["modle=x"], "modle", None, "Did you mean 'model='?"),
        ("init", [], "name", None, "Run e.g. `make init name=zephyr keep=none`."),
        ("update", ["force=maybe"], "force", "maybe", "Use force=true."),
        ("lock", ["--flag"], None, None, "Use only the arguments that the usage on stderr lists."),
        ("doctor", ["gpu=false", "models=[a]"], "models", None, "Only gpu=true has settings, e.g."),
    ],
)
def test_invalid_argument_is_stated_in_the_object(script, arguments, key, value, fix):
    command = [sys.executable, ROOT / f"scripts/{script}.py", *arguments, "json=true"]
    process = subprocess.run(command, capture_output=True, text=True)
    printed = json.loads(process.stdout)
    error = printed["error"]

    assert (process.returncode, printed["command"], printed["exit_code"]) == (2, script, 2), process.stderr
    assert (error["type"], error["key"], error["value"]) == ("ConfigError", key, value)
    assert error["fix"].startswith(fix)


def test_update_prints_the_object(project, template):
    done = try_update(project, f"from={template}", "ref=v2", "dry_run=true", "json=true")
    result = json.loads(done.stdout)["result"]

    assert done.returncode == 0, done.stderr
    assert result["dry_run"] is True
    assert set(result) == {"changes", "attention", "from_version", "to_version", "commit", "dry_run"}
    assert "Would update firstlight from" in done.stderr


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Invalid value. Use x=1."), (2, "Invalid value. Use x=1.", "ConfigError")),
        (json_output.ScriptError("No version fits."), (1, "No version fits.", "ScriptError")),
        (RuntimeError("internal\nerror"), (1, "internal error", "RuntimeError")),
        (KeyboardInterrupt(), (130, "stopped by SIGINT", "Stopped")),
        (SystemExit(143), (143, "stopped by SIGTERM", "Stopped")),
    ],
)
def test_exit_code_of_a_script(error, expected, monkeypatch):
    monkeypatch.setattr(json_output.signal, "signal", lambda number, handler: None)

    def fail(arguments):
        raise error

    assert json_output.run_and_print_error("test", fail, []) == expected


def test_unusable_flags_are_stated_in_the_object():
    result = run_make(ROOT, "READY=", f"PYTHON={sys.executable}", "new", "json=true", "ARGS='")
    printed = json.loads(result.stdout)

    assert (printed["command"], printed["exit_code"], printed["error"]["key"]) == ("make", 2, "ARGS")
