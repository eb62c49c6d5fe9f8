"""Send a stop signal to a command at a chosen moment: the n-th call of a Python function in its main thread."""

import os
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from firstlight.run import signals
from firstlight.run.files import read_json_or_empty

TIMEOUT_S = 120


@dataclass
class Outcome:
    """How a command ended: its exit code, stdout and stderr, and the number of calls that it made."""

    code: int
    out: str
    err: str
    num_calls: int


def run_in_fork(directory: Path, name: str, arguments: list[str], call: int = -1, number: int = 0) -> Outcome:
    """Run a command in a fork of this process, whose imports need not be repeated, and send it a signal.

    Args:
        directory: Working directory of the command, and of its output.
        name: The command.
        arguments: Its arguments.
        call: Index of the function call at which the signal arrives; -1: no signal.
        number: The signal.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = {stream: directory / stream for stream in ("stdout", "stderr", "calls")}
    child = os.fork()
    if not child:
        try:
            _run_child(files, directory, name, arguments, call, number)
        except SystemExit as stop:
            sys.stdout.flush()
            os._exit(stop.code if isinstance(stop.code, int) else 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(99)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    calls = files["calls"].read_text()
    return Outcome(code, files["stdout"].read_text(), files["stderr"].read_text(), int(calls or 0))


def _run_child(files: dict[str, Path], directory: Path, name: str, arguments: list[str], call: int, number: int):
    os.chdir(directory)
    for stream, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(files[stream], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.alarm(TIMEOUT_S)  # a command that hangs is killed
    for stop_signal in signals.STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_DFL)
    signals.exit_on_signals_during_import()
    sys.argv = [name, *arguments]
    count = 0
    files["calls"].write_text("")

    def count_call(frame, event, argument):
        nonlocal count
        if event == "call":
            count += 1
            if count == call:
                os.kill(os.getpid(), number)

    sys.modules.pop(f"firstlight.{name}", None)  # it becomes __main__
    sys.setprofile(count_call)
    try:
        runpy.run_module(f"firstlight.{name}", run_name="__main__", alter_sys=True)
    finally:
        sys.setprofile(None)
        files["calls"].write_text(str(count))


def find_problem(outcome: Outcome, directory: Path, number: int) -> str:
    """Return what is wrong after a command was stopped, or "" if it ended as it must."""
    if outcome.code != 128 + number:
        return f"exit code {outcome.code}, expected {128 + number}"
    if "Traceback" in outcome.out + outcome.err:
        return "traceback"
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    stopped = [line for line in lines if f"stopped by {signal.Signals(number).name}." in line]
    if "Checkpoint saved. Resume with" not in outcome.out and len(stopped) != 1:
        return f"{len(stopped)} lines about the signal"
    if len(lines) > 1:
        return f"{len(lines)} lines on stderr"
    for file in directory.rglob("run.json"):
        record = read_json_or_empty(file)
        if record.get("status") == "running" or not record:
            return f"{file.relative_to(directory)} has the status {record.get('status')}"
    left = [path.name for path in directory.rglob(".*") if path.name.endswith((".tmp", ".reserve"))]
    return f"left {', '.join(left)}" if left else ""
