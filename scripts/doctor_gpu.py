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
FAILURES = ("different", "failed")
AVOID = "training runs on this device may be wrong; use trainer=cpu"


class GpuFinding(NamedTuple):
    """The last finding of the GPU check; `record` contains the versions, the device, and the numbers of each check."""

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
    command = [sys.executable, "-P", "-m", MODULE, "json=true", *settings]
    # A file, because nobody reads a pipe before the end.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.PIPE, text=True)
        last_line = ""
        for character in iter(lambda: process.stderr.read(1), ""):  # type: ignore[union-attr]
            print(character, end="", file=sys.stderr, flush=True)
            last_line = character if last_line.endswith("\n") else last_line + character
        code = process.wait()
        output.seek(0)
        text = output.read()
    if text.strip():
        yield from list_findings(json.loads(text))
    else:
        yield describe_failure(code, last_line.strip())


def describe_failure(code: int, last_line: str) -> Finding:
    """Return the finding about a check without results.

    Args:
        code: Exit code of the process; negative: the number of the signal that ended it.
        last_line: Its last line, which names the running check or the error.
    """
    if code < 0:
        text = f"the check was ended by {signal.Signals(-code).name} during: {last_line}"
        return Finding("gpu", "fail", text, "update torch and the operating system, or use trainer=cpu")
    problem, _, fix = last_line.partition(". ")
    return Finding("gpu", "fail", problem.replace("check_gpu: ", "", 1), fix or "see the lines above")


def list_findings(results: dict[str, Any]) -> Iterator[Finding | GpuFinding]:
    """Yield a finding for each check that is not equal, and a summary with the complete results."""
    checks, statuses = results["checks"], [check["status"] for check in results["checks"]]
    for check in checks:
        status: Literal["ok", "fail"] = "fail" if check["status"] in FAILURES else "ok"
        if check["message"]:
            yield Finding("gpu", status, check["message"], check["fix"].rstrip("."))
    num_failed = sum(status in FAILURES for status in statuses)
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
    text = f"{results['device']['name']} compared with the CPU in {results['seconds']:.0f} s: {counts}"
    yield GpuFinding("gpu", "fail" if num_failed else "ok", text, AVOID if num_failed else "", results)
