"""json=true: one object on stdout, everything else on stderr, whatever ends the process."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firstlight.run import json_output
from firstlight.run.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    HardwareError,
    Message,
    MissingPackageError,
    RunInUseError,
    TrainingError,
    incompatible,
    invalid_value,
    unknown_name,
)
from support.options import get_tiny_model, make_tiny_overrides

# A command whose process, its child process and a C library print while it runs.
NOISY = """
import ctypes, os, subprocess, sys
from firstlight.run.json_output import print_as_json, set_result
with print_as_json("noisy", True):
    print("python")
    os.write(1, b"descriptor\\n")
    subprocess.run(["echo", "child"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"library")
    libc.fflush(None)
    set_result({"path": "logs/x"})
print("after the end")
"""


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, **options)


def print_object(capfd, error: BaseException | None, **result: object) -> dict:
    """Return the object of a command that ends with an error, or with a result."""
    expected = pytest.raises(type(error)) if error is not None else contextlib.nullcontext()
    with expected, json_output.print_as_json("test", True):
        json_output.update_result(**result)
        if error is not None:
            raise error
    printed = capfd.readouterr().out
    assert printed.count("\n") == 1
    return json.loads(printed)


def test_only_the_object_is_on_stdout():
    process = run_python(NOISY, stdout=subprocess.PIPE)

    assert json.loads(process.stdout) == {
        "command": "noisy",
        "exit_code": 0,
        "result": {"path": "logs/x"},
        "error": None,
    }
    assert sorted(process.stderr.splitlines()) == ["after the end", "child", "descriptor", "library", "python"]


def test_closed_stdout_and_closed_pipe_are_ignored():
    read_end, write_end = os.pipe()
    os.close(read_end)
    piped = run_python(NOISY, stdout=write_end)
    os.close(write_end)
    closed = run_python(f"import os; os.close(1)\n{NOISY}", stdout=subprocess.PIPE)

    assert (piped.returncode, closed.returncode, closed.stdout) == (0, 0, "")
    assert "Error" not in piped.stderr + closed.stderr


def test_without_a_request_nothing_is_redirected(capfd):
    with json_output.print_as_json("test", False):
        print("text")
        json_output.update_result(a=1)

    assert capfd.readouterr() == ("text\n", "")


def test_nested_command_prints_no_object_of_its_own(capfd):
    with json_output.print_as_json("sweep", True), json_output.print_as_json("train", True):
        json_output.set_result({"a": 1})

    assert json.loads(capfd.readouterr().out)["command"] == "sweep"


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (SystemExit(2), 2, "SystemExit"),
        (SystemExit("text"), 1, "SystemExit"),
        (SystemExit(143), 143, "Stopped"),
        (KeyboardInterrupt(), 130, "Stopped"),
    ],
)
def test_result_so_far_is_printed_after_an_error(capfd, error, code, kind):
    printed = print_object(capfd, error, run_dir="run")

    assert (printed["exit_code"], printed["error"]["type"], printed["result"]) == (code, kind, {"run_dir": "run"})


def test_nan_and_infinity_are_null(capfd):
    printed = print_object(capfd, None, metrics={"a": math.nan, "b": [math.inf, 1.5]}, path=Path("x"), flag=True)

    assert printed["result"] == {"metrics": {"a": None, "b": [None, 1.5]}, "path": "x", "flag": True}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["json=true", "seed=1"], (["seed=1"], True)),
        (["json=True", "json=false"], ([], False)),
        (["json=x", "+json=true", "logger.json=true"], (["json=x", "+json=true", "logger.json=true"], False)),
    ],
)
def test_argument_is_removed(arguments, expected):
    assert json_output.pop_json_argument(arguments) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (invalid_value("seed", "x", "an integer", "Use e.g. seed=1."), ("seed", "x", "Use e.g. seed=1.")),
        (unknown_name("setting", "sead", ["seed"]), ("sead", None, "Did you mean 'seed'?")),
        (unknown_name("format", "onx", ["onnx"]), ("format", "onx", "Did you mean 'onnx'?")),
        (incompatible("model=a", "text", "data=b", "images", "Use data=c."), ("model", "a", "Use data=c.")),
        (
            "trainer=mps requires Apple silicon, but this is Linux. Use trainer=cpu.",
            ("trainer", "mps", "Use trainer=cpu."),
        ),
        ("The loss is not finite.", (None, None, None)),
        ("resume= expects a run directory, got a.ckpt. Pass resume=run.", ("resume", "", "Pass resume=run.")),
    ],
)
def test_parts_of_a_message(message, expected):
    parts = ConfigError(message).get_message()

    assert parts == message
    assert (parts.key, parts.value, parts.fix) == expected


def test_message_with_parts_is_a_string_in_one_line():
    assert ConfigError(Message("two\nlines", "key")).get_message() == "two lines"
    assert str(ConfigError(Message("text", "key"))) == "text"


def test_exit_codes_of_errors():
    invalid = {error.exit_code for error in (ConfigError, DataError, CheckpointError)}
    failed = {error.exit_code for error in (HardwareError, MissingPackageError, TrainingError, RunInUseError)}

    assert (invalid, failed) == ({2}, {1})


def test_command_that_is_stopped_while_it_imports_prints_the_object():
    # As while Python locates the module of `python -m firstlight.train json=true`.
    stop = "import firstlight, os; os.kill(os.getpid(), 15)"
    code = f"import sys; sys.argv[:] = ['-m']; sys.orig_argv[:] = ['-m', 'firstlight.train', 'json=true']; {stop}"
    process = run_python(code, stdout=subprocess.PIPE)
    printed = json.loads(process.stdout)

    assert (process.returncode, printed["command"], printed["exit_code"]) == (143, "train", 143)
    assert printed["error"]["message"] == "stopped by SIGTERM"


@pytest.mark.slow
def test_stopped_training_run_states_where_it_can_be_resumed(tmp_path):
    overrides = [*make_tiny_overrides(get_tiny_model()), "trainer.max_epochs=100000", "output_dir=run", "json=true"]
    command = [sys.executable, "-m", "firstlight.train", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    deadline = time.monotonic() + 100
    while not (tmp_path / "run" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    printed = json.loads(out)

    assert (process.returncode, printed["exit_code"]) == (143, 143), err
    assert printed["error"]["message"] == "stopped by SIGTERM"
    assert (printed["result"]["run_dir"], printed["result"]["status"]) == ("run", "interrupted")
    assert Path(tmp_path / printed["result"]["checkpoints"]["last"]).is_file()
