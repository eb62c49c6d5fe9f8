"""Run the engine's GPU check for `make doctor gpu=true`, and turn its results into findings.

Only the standard library. Runs on Python 3.9 or newer; the check itself is a module of the installed environment.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from doctor_rules import Finding

MODULE = "firstlight.check_gpu"
AVOID = "training runs on this device may be wrong; use trainer=cpu"


class GpuFinding(NamedTuple):
    """The last finding of the GPU check; `record` contains the versions, the device, and the result of each check."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    fix: str
    record: dict[str, Any]


def select_settings(settings: Sequence[str]) -> list[str] | None:
    """Return the settings of the GPU check, or None if it is not requested.

    Raises:
        ValueError: If a setting has no effect.
    """
    requests = [setting for setting in settings if setting.startswith("gpu=")]
    if not all(request in ("gpu=true", "gpu=false") for request in requests):
        raise ValueError(f"Invalid value for gpu: expected true or false, got {requests[-1][4:]!r}. Use gpu=true.")
    others = [setting for setting in settings if setting not in requests]
    if requests[-1:] == ["gpu=true"]:
        return others
    if others:
        raise ValueError(
            f"Unknown setting {others[0]!r}. Only gpu=true has settings, e.g. gpu=true models=[torchvision]."
        )
    return None


def run_check(root: Path, settings: Sequence[str], install: str) -> Iterator[Finding | GpuFinding]:
    """Run the check in a process of its own, and yield its findings.

    Args:
        root: Directory of the project.
        settings: Overrides of the check.
        install: Command that installs missing packages.
    """
    if find_spec("firstlight") is None or find_spec("torch") is None:
        yield Finding("gpu", "fail", "the check of the GPU needs the environment of the project", install)
        return
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", suffix=".jsonl") as records:
        command = [sys.executable, "-P", "-m", MODULE, f"records_file={records.name}", *settings]
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        last_line = ""
        for character in iter(lambda: process.stderr.read(1), ""):  # type: ignore[union-attr]
            print(character, end="", file=sys.stderr, flush=True)
            last_line = character if last_line.endswith("\n") else last_line + character
        code = process.wait()
        text = records.read()
    yield from list_findings(read_record(text), code, last_line.strip())


def read_record(text: str) -> dict[str, Any]:
    """Return the results of the check, which may be incomplete.

    Args:
        text: Lines of JSON.
    """
    record: dict[str, Any] = {"checks": []}
    for line in text.splitlines():
        try:
            entries = json.loads(line)
        except ValueError:  # the process has ended while it wrote the line
            continue
        if "status" in entries:
            record["checks"].append(entries)
        else:
            record.update(entries)
    if "counts" in record:
        record.pop("running", None)
    return record


def list_findings(record: dict[str, Any], code: int, last_line: str) -> Iterator[Finding | GpuFinding]:
    """Yield a finding for each check that is not equal, and a last one with the record.

    Args:
        record: Results of the check.
        code: Exit code of the process; negative: the number of the signal that ended it.
        last_line: Last line of its messages.
    """
    num_failed = 0
    for check in record["checks"]:
        if check["message"]:
            num_failed += bool(check["fix"])
            yield Finding("gpu", "fail" if check["fix"] else "ok", check["message"], check["fix"].rstrip("."))
    failure = describe_failure(record.get("running", ""), code, last_line)
    if "counts" not in record:
        yield GpuFinding(*failure, record) if record["checks"] else failure
        return
    if code < 0 or (code > 0 and not num_failed):
        yield failure
    counts = ", ".join(f"{count} {status}" for status, count in record["counts"].items())
    text = f"{record['device']['name']} compared with the CPU in {record['seconds']:.0f} s: {counts}"
    yield GpuFinding("gpu", "fail" if num_failed else "ok", text, AVOID if num_failed else "", record)


def describe_failure(running: str, code: int, last_line: str) -> Finding:
    """Return the finding about a process that failed or was ended.

    Args:
        running: Name of the running check; empty before the first check and after the last one.
        code: Exit code; negative: the number of the signal that ended the process.
        last_line: Last line of its messages, which may name the error.
    """
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        reason = "" if last_line.startswith(f"{running} ...") else f": {last_line}"
        text = f"the check was ended by {name} during {running}{reason}" if running else f"{name} ended the check"
        return Finding("gpu", "fail", text, "update torch and the operating system, or use trainer=cpu")
    problem, _, fix = last_line.partition(". ")
    problem = problem.replace("check_gpu: ", "", 1) or "the check printed neither results nor an error"
    return Finding("gpu", "fail", problem, fix or "see the lines above")
