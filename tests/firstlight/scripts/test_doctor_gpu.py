"""`make doctor gpu=true`: doctor runs the GPU check of the engine and reports its results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mps_emulator import emulator

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import doctor_gpu  # noqa: E402
from doctor_gpu import GpuFinding  # noqa: E402
from doctor_rules import Finding  # noqa: E402

RESULTS = {
    "device": {"name": "Apple M2"},
    "seconds": 21.4,
    "counts": {"different": 1, "equal": 1, "failed": 1, "skipped": 1},
    "checks": [
        {"status": "equal", "message": "", "fix": ""},
        {"status": "different", "message": "bmm differs", "fix": "Update torch."},
        {"status": "failed", "message": "model=net fails on mps", "fix": "Use the CPU."},
        {"status": "skipped", "message": "model=other is skipped: it requires a value", "fix": ""},
    ],
}


# The file of the check: the machine, the name of each check before its result, and the counts.
LINES = [
    {"device": {"name": "Apple M2"}},
    *[line for check in RESULTS["checks"] for line in ({"running": "name"}, check)],
    {"seconds": RESULTS["seconds"], "counts": RESULTS["counts"]},
]
RUNNING = [*LINES[:3], {"running": "bmm (float32)"}]
# What MPS prints before it ends the process.
ABORT = 'loc("mps_matmul"): error: incompatible dimensions\nLLVM ERROR: Failed to infer result type(s).'


def make_source(lines, statement):
    """Return the source of a check that writes lines of JSON to its file and then runs a statement."""
    output = "\n".join(map(json.dumps, lines))
    records = 'open(sys.argv[1].partition("records_file=")[2], "w")'
    return f"import os, sys\nprint({output!r}, file={records}, flush=True)\n{statement}\n"


def print_error(text):
    """Return a statement that prints a text to the standard error."""
    return f"print({text!r}, end='', file=sys.stderr, flush=True)"


@pytest.fixture
def fake_check(tmp_path, monkeypatch):
    """Return a function that replaces the check of the engine by a module with a source."""

    def replace(source):
        (tmp_path / "fake_check.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(doctor_gpu, "MODULE", "fake_check")

    return replace


def run_doctor(*arguments, **variables):
    """Run `make doctor` with this Python."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "CONDA"))}
    command = ["make", "--no-print-directory", "-C", str(ROOT), "READY=", f"PYTHON={sys.executable}", "doctor"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=inherited | variables)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], None),
        (["gpu=false"], None),
        (["gpu=true"], []),
        (["models=[net]", "gpu=true"], ["models=[net]"]),
        (["gpu=true", "gpu=false"], None),
    ],
)
def test_gpu_is_checked_on_request(settings, expected):
    assert doctor_gpu.select_settings(settings) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["gpu=1"], "Invalid value for gpu: expected true or false, got '1'. Use gpu=true."),
        (["gqu=true"], "Unknown setting 'gqu=true'. Only gpu=true has settings"),
    ],
)
def test_settings_without_effect_are_rejected(settings, message):
    with pytest.raises(ValueError) as error:
        doctor_gpu.select_settings(settings)

    assert str(error.value).startswith(message)


def test_each_difference_is_a_finding_and_the_last_one_has_the_record():
    *findings, summary = doctor_gpu.list_findings(RESULTS, 1, "")

    assert findings == [
        Finding("gpu", "fail", "bmm differs", "Update torch"),
        Finding("gpu", "fail", "model=net fails on mps", "Use the CPU"),
        Finding("gpu", "ok", "model=other is skipped: it requires a value"),
    ]
    text = "Apple M2 compared with the CPU in 21 s: 1 different, 1 equal, 1 failed, 1 skipped"
    assert summary == GpuFinding("gpu", "fail", text, doctor_gpu.AVOID, RESULTS)


def test_equal_results_are_one_line():
    (summary,) = doctor_gpu.list_findings(
        RESULTS | {"checks": RESULTS["checks"][:1] * 3, "counts": {"equal": 3}}, 0, ""
    )

    assert summary[1:4] == ("ok", "Apple M2 compared with the CPU in 21 s: 3 equal", "")


def test_results_come_from_the_output_of_the_check(fake_check, capfd):
    fake_check(make_source(LINES, f"{print_error('bmm ... equal')}\nsys.exit(1)"))
    findings = list(doctor_gpu.run_check(ROOT, [], "make setup"))

    assert findings == list(doctor_gpu.list_findings(RESULTS, 1, ""))
    assert capfd.readouterr().err == "bmm ... equal"


def test_incomplete_line_is_not_a_result():
    lines = "\n".join(map(json.dumps, LINES))

    assert doctor_gpu.read_record(lines + '\n{"running": "bm') == RESULTS


def test_check_receives_the_settings(fake_check):
    fake_check("import sys\nprint('check_gpu: ' + ' '.join(sys.argv[2:]) + '. Fix it.', file=sys.stderr)\n")

    assert list(doctor_gpu.run_check(ROOT, ["models=[net]"], "make setup")) == [
        Finding("gpu", "fail", "models=[net]", "Fix it.")
    ]


@pytest.mark.parametrize(("message", "reason"), [("", ""), (ABORT, ": LLVM ERROR: Failed to infer result type(s).")])
def test_kernel_that_ends_the_process_is_named_and_results_are_kept(fake_check, message, reason):
    messages = f"sum ... equal\nbmm (float32) ... {message}"
    fake_check(make_source(RUNNING, f"{print_error(messages)}\nos.abort()"))
    (finding,) = doctor_gpu.run_check(ROOT, [], "make setup")

    assert finding[:3] == ("gpu", "fail", f"the check was ended by SIGABRT during bmm (float32){reason}")
    assert finding.record == {"device": {"name": "Apple M2"}, "checks": RESULTS["checks"][:1], **RUNNING[-1]}


def test_signal_without_a_name_is_reported():
    finding = doctor_gpu.describe_failure("bmm", -63, "bmm ...")

    assert finding.text == "the check was ended by signal 63 during bmm"


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("os.abort()", "SIGABRT ended the check"),
        (f"{print_error('check_gpu: Out of memory. Free some.')}\nsys.exit(1)", "Out of memory"),
    ],
)
def test_failure_after_the_last_check_is_reported(fake_check, statement, text):
    lines = [*LINES[:3], {"seconds": 2.0, "counts": {"equal": 1}}]
    fake_check(make_source(lines, statement))
    failure, summary = doctor_gpu.run_check(ROOT, [], "make setup")

    assert failure[:3] == ("gpu", "fail", text)
    assert summary[1:3] == ("ok", "Apple M2 compared with the CPU in 2 s: 1 equal")


def test_check_without_output_has_failed(fake_check):
    fake_check("")

    assert list(doctor_gpu.run_check(ROOT, [], "make setup")) == [
        Finding("gpu", "fail", "the check printed neither results nor an error", "see the lines above")
    ]


def test_environment_is_required(monkeypatch):
    monkeypatch.setattr(doctor_gpu, "find_spec", lambda name: None)
    (finding,) = doctor_gpu.run_check(ROOT, [], "make setup, then make doctor")

    assert finding == Finding(
        "gpu", "fail", "the check of the GPU needs the environment of the project", "make setup, then make doctor"
    )


def test_invalid_setting_is_stated_in_the_object():
    command = [sys.executable, ROOT / "scripts/doctor.py", "gpu=maybe", "json=true", "models=[net]"]
    process = subprocess.run(command, capture_output=True, text=True)
    message = "Invalid value for gpu: expected true or false, got 'maybe'. Use gpu=true."
    error = {"type": "ConfigError", "message": message, "key": "gpu", "value": "maybe", "fix": "Use gpu=true."}

    assert process.stderr == f"doctor: {message}\n"
    assert json.loads(process.stdout) == {"command": "doctor", "exit_code": 2, "result": None, "error": error}
    assert process.returncode == 2


def test_make_forwards_the_settings():
    process = run_doctor("gpu=maybe")

    assert process.returncode == 2
    assert "doctor: Invalid value for gpu: expected true or false, got 'maybe'. Use gpu=true." in process.stderr


@pytest.mark.slow
def test_doctor_checks_the_emulated_gpu():
    if reason := emulator.get_skip_reason():
        pytest.skip(reason)
    process = run_doctor("gpu=true", "models=[tiny_mlp]", "json=true", **emulator.make_environment())
    *_, summary = json.loads(process.stdout)["result"]["findings"]
    record = summary["record"]

    assert (summary["name"], summary["status"]) == ("gpu", "ok"), process.stderr
    assert record["device"]["accelerator"] == "mps"
    assert {"torch", "lightning"} <= record["versions"].keys()
    assert {"os", "machine", "python"} == record["system"].keys()
    (model,) = [check for check in record["checks"] if check["kind"] == "model"]
    assert (model["name"], model["status"]) == ("tiny_mlp", "equal")
    assert all(check["difference"] <= check["limit"] for check in record["checks"] if check["status"] == "equal")
