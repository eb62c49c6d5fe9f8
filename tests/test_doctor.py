"""`make doctor` names each fault with its repair; the facts of a Mac are planted, so that any machine can test it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import doctor  # noqa: E402
from doctor import HIGH, LOW, Finding, Machine, Torch  # noqa: E402

MAC = Machine("macOS", "26.1", "Apple M4", "arm64", 16 * 2**30, battery="Now drawing from 'AC Power'")
LINUX = Machine("Linux", "6.8", "Intel Xeon", "x86_64", 16 * 2**30)
WINDOWS = Machine("Windows", "11", "AMD64", "AMD64", 0)
MAC_TORCH = Torch(built=True, available=True, recommended_bytes=10 * 2**30)
VERSIONS = {
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "lightning": "2.6.6",
    "transformers": "5.23.0",
    "hydra-core": "1.3.8",
    "wandb": "0.31.0",
}
PINS = {name: [version] for name, version in VERSIONS.items()}
PAIR = "torch (>=2.14.0)"
TOOLS = {
    "sw_vers": "echo 15.6",
    "sysctl": 'case "$2" in *brand_string) echo Apple M2 Pro;; hw.memsize) echo 17179869184;; '
    "*translated) echo 1;; *wired_limit_mb) echo 12000;; esac",
    "pmset": "[ \"$2\" = batt ] && echo \"Now drawing from 'Battery Power'\" || echo ' lowpowermode         1'",
}


def judged(findings):
    """Return findings as a list, whether a check gives one, several or none."""
    return [findings] if isinstance(findings, Finding) else list(findings)


def python_of(machine, version="3.12.4", found=""):
    return doctor.judge_python(machine, version, found, "make setup")


def packages(pins=PINS, pair=PAIR, **versions):
    return doctor.judge_packages({**VERSIONS, **versions}, pins, pair, "make setup")


def known(machine=MAC, **versions):
    return doctor.judge_versions(machine, {**VERSIONS, **versions}, "make setup")


def mps(torch, machine=MAC):
    return doctor.judge_mps(machine, torch, "make setup")


def variables(machine=MAC, **values):
    return doctor.judge_variables(machine, values)


FAULTS = {
    "macOS 14": (doctor.judge_system(MAC._replace(release="14.7")), "fail", "needs macOS 15", "update macOS"),
    "Intel Mac": (doctor.judge_system(MAC._replace(chip="Intel(R) Core(TM) i7")), "fail", "Intel", "Apple chip"),
    "Python 3.10": (python_of(MAC, "3.10.1"), "fail", "needs 3.11, 3.12 or 3.13", "install Python 3.12"),
    "Python 3.14": (python_of(MAC, "3.14.0"), "fail", "needs 3.11, 3.12 or 3.13", "install Python 3.12"),
    "an old Python before setup": (python_of(MAC, "3.9.6", "/bin/python3.12"), "warn", "/bin/python3.12", "make setup"),
    "Rosetta": (python_of(MAC._replace(translated=True)), "fail", "Rosetta", "arm64 Python"),
    "Rosetta by the chip": (python_of(MAC._replace(architecture="x86_64")), "fail", "Rosetta", "make clean setup"),
    "nothing installed": (doctor.judge_packages({}, PINS, "", "make setup"), "fail", "not installed", "make setup"),
    "another version": (packages(wandb="0.30.0"), "warn", "wandb 0.30.0 instead of 0.31.0", "make setup"),
    "no pair": (packages(torch="2.13.0"), "fail", "torchvision 0.29.2 needs torch (>=2.14.0)", "make setup"),
    "no exact pair": (packages(pair="torch==2.11.0"), "fail", "needs torch==2.11.0, not 2.15.0", "make setup"),
    "old torch on M1": (known(MAC._replace(chip="Apple M1 Max"), torch="2.13.1"), "fail", "32768", "make setup"),
    "old torch on M2": (known(MAC._replace(chip="Apple M2"), torch="2.13.1"), "fail", "32768", "make setup"),
    "old torch on any Mac": (known(torch="2.13.1"), "warn", "channels_last", "make setup"),
    "lightning 2.6.2": (known(LINUX, lightning="2.6.2"), "fail", "malicious", "renew every password"),
    "lightning 2.6.3": (known(lightning="2.6.3"), "fail", "malicious", "make setup"),
    "lightning 2.5": (known(lightning="2.5.6"), "warn", "mixed precision", "make setup"),
    "no torch": (mps(None), "warn", "cannot be checked", "make setup"),
    "a broken torch": (mps(Torch(error="ImportError: libomp")), "fail", "ImportError: libomp", "make setup"),
    "torch without MPS": (mps(Torch()), "fail", "built without MPS", "make setup"),
    "no GPU": (mps(Torch(built=True)), "fail", "finds no GPU", "trainer=cpu"),
    "no limit": (variables(**{HIGH: "0"}), "warn", "swaps", f"unset {HIGH}"),
    "a high limit": (variables(**{HIGH: "1.5"}), "warn", "swaps", f"unset {HIGH}"),
    "only a high low": (variables(**{LOW: "1.2"}), "warn", "swaps", f"unset {HIGH} {LOW}"),
    "low above high": (variables(**{HIGH: "0.8", LOW: "0.9"}), "fail", "low <= high", f"unset {HIGH} {LOW}"),
    "too high": (variables(**{HIGH: "2.5", LOW: "1"}), "fail", "high <= 2", f"unset {HIGH} {LOW}"),
    "no number": (variables(**{HIGH: "one", LOW: "0"}), "fail", "numbers", f"unset {HIGH} {LOW}"),
    "nan": (variables(**{HIGH: "nan", LOW: "0"}), "fail", "numbers", f"unset {HIGH} {LOW}"),
    "fallback": (variables(PYTORCH_ENABLE_MPS_FALLBACK="1"), "warn", "run on the CPU", "unset PYTORCH_ENABLE_MPS"),
    "DISABLE_MPS": (variables(DISABLE_MPS="1"), "warn", "ignores the GPU", "unset DISABLE_MPS"),
    "little space": (doctor.judge_disk({"logs": 50e9, "data": 19e9}), "warn", "19.0 GB free at data/", "delete old"),
    "no space": (doctor.judge_disk({"logs": 1.9e9, "data": 50e9}), "fail", "1.9 GB free at logs/", "larger disk"),
    "no logs": (doctor.judge_logs("Permission denied"), "fail", "Permission denied", "mkdir -p logs"),
    "battery": (doctor.judge_power(MAC._replace(battery="from 'Battery Power'")), "warn", "battery", "charger"),
    "low power": (doctor.judge_power(MAC._replace(power_settings=" lowpowermode 1")), "warn", "low power", "turn off"),
    "power mode": (doctor.judge_power(MAC._replace(power_settings=" powermode  1")), "warn", "low power", "turn off"),
}
SOUND = {
    "a Mac": doctor.judge_system(MAC),
    "Linux": doctor.judge_system(LINUX),
    "Windows": doctor.judge_system(WINDOWS),
    "a Mac whose tools are absent": doctor.judge_system(MAC._replace(release="", chip="")),
    "Python 3.11": python_of(MAC, "3.11.0"),
    "Python 3.13": python_of(LINUX, "3.13.9"),
    "an x86 Python off the Mac": python_of(LINUX),
    "pinned versions": packages(),
    "a build of the pinned version": packages(torch="2.15.0+cu132"),
    "no pins": packages(pins={}, wandb="0.99"),
    "known versions": known(),
    "old torch off the Mac": known(LINUX, torch="2.13.1"),
    "MPS": mps(MAC_TORCH),
    "no MPS on Linux": mps(Torch(), LINUX),
    "CUDA": mps(Torch(cuda="NVIDIA H200"), LINUX),
    "memory": doctor.judge_memory(MAC, MAC_TORCH),
    "unknown memory": doctor.judge_memory(WINDOWS, None),
    "no variables": variables(),
    "the training's ratios": variables(**{HIGH: "1.0", LOW: "0.9"}),
    "only high": variables(**{HIGH: "1.0"}),
    "only low": variables(**{LOW: "0.5"}),
    "fallback off": variables(PYTORCH_ENABLE_MPS_FALLBACK="0"),
    "ratios off the Mac": variables(LINUX, **{HIGH: "x"}),
    "no key": doctor.judge_wandb({}, False),
    "a key": doctor.judge_wandb({}, True),
    "space": doctor.judge_disk({"logs": 20e9, "data": 50e9}),
    "logs": doctor.judge_logs(""),
    "mains": doctor.judge_power(MAC),
    "full power": doctor.judge_power(MAC._replace(power_settings=" lowpowermode 0\n powermode 2")),
    "no power tool": doctor.judge_power(LINUX),
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
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONDA", "PYTHON"))}
    environment = {**inherited, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(("findings", "status", "text", "repair"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_status_and_its_repair(findings, status, text, repair):
    worst = min(judged(findings), key=lambda finding: ("fail", "warn", "ok").index(finding.status))

    assert status == worst.status
    assert text in worst.text
    assert repair in worst.repair


@pytest.mark.parametrize("findings", SOUND.values(), ids=SOUND)
def test_what_is_sound_is_ok_and_needs_no_repair(findings):
    assert all((finding.status, finding.repair) == ("ok", "") for finding in judged(findings))


def test_two_faults_are_two_findings():
    found = variables(DISABLE_MPS="1", PYTORCH_ENABLE_MPS_FALLBACK="1", **{HIGH: "3"})

    assert [finding.status for finding in found] == ["fail", "warn", "warn"]


def test_only_what_is_missing_is_named():
    finding = doctor.judge_packages({"torch": "2.15.0"}, PINS, "", "make setup")

    assert "torchvision" in finding.text
    assert "torch," not in finding.text


def test_memory_tells_the_part_of_the_gpu():
    text = doctor.judge_memory(MAC._replace(wired_limit_mb=12000), MAC_TORCH).text

    assert text == "16.0 GiB RAM, 10.0 GiB recommended for the GPU, iogpu.wired_limit_mb=12000"


@pytest.mark.parametrize(("mode", "text"), [("offline", "WANDB_MODE=offline"), ("", "logged in")])
def test_the_mode_of_wandb_is_told_where_it_is_set(mode, text):
    assert text in doctor.judge_wandb({"WANDB_MODE": mode}, True).text


@pytest.mark.parametrize(
    ("version", "requirement", "fits"),
    [
        ("2.15.0", "torch (>=2.14.0)", True),
        ("2.13.1", "torch (>=2.14.0)", False),
        ("2.11.0+cu128", "torch==2.11.0", True),
        ("2.15.0", "torch==2.11.0", False),
        ("2.15.0.dev20260901", "torch<3,>=2.14 ; python_version >= '3.11'", True),
        ("2.15.0", "", True),
    ],
)
def test_a_requirement_is_read_as_pip_reads_it(version, requirement, fits):
    assert fits is doctor.satisfies(version, requirement)


@pytest.mark.usefixtures("tools")
def test_a_mac_is_read_from_its_tools():
    machine = doctor.read_machine("Darwin")

    assert machine[:3] == ("macOS", "15.6", "Apple M2 Pro")
    assert (machine.ram_bytes, machine.translated, machine.wired_limit_mb) == (2**34, True, 12000)
    assert [finding.status for finding in doctor.judge_power(machine)] == ["warn", "warn"]


def test_a_mac_without_its_tools_is_unknown_but_not_at_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = doctor.read_machine("Darwin")

    assert machine[:3] == ("macOS", "", "")
    assert doctor.judge_system(machine).status == "ok"
    assert doctor.judge_power(machine) == []


def test_a_torch_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    assert doctor.read_torch().error.startswith("ModuleNotFoundError: ")


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

    assert doctor.read_torch() == Torch(built=True, available=True)


@pytest.mark.parametrize("command", ["no-such-tool", "false"])
def test_a_tool_that_is_absent_or_fails_says_nothing(command):
    assert doctor.output(command) == ""


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

    assert expected is doctor.read_key(environment, tmp_path)


def test_no_netrc_is_no_key(tmp_path):
    assert doctor.read_key({}, tmp_path) is False


def test_a_folder_is_left_as_it_was(tmp_path):
    error = doctor.read_write_error(tmp_path)

    assert error == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    assert doctor.read_write_error(tmp_path / "logs") == "No such file or directory"


def test_every_package_is_pinned():
    pins = doctor.read_pins(ROOT / "requirements.lock")

    assert set(doctor.PACKAGES) == {name for name, versions in pins.items() if versions}


@pytest.mark.parametrize(("age_s", "command"), [(-60, "make setup"), (60, "make clean setup")])
def test_a_finished_environment_is_made_anew(tmp_path, age_s, command):
    (tmp_path / ".venv").mkdir()
    for name in ("requirements.lock", "pyproject.toml", ".venv/ready"):
        (tmp_path / name).touch()
    made = (tmp_path / "pyproject.toml").stat().st_mtime + age_s
    os.utime(tmp_path / ".venv/ready", (made, made))

    assert command == doctor.install_command(tmp_path, own=True, conda=False)


def test_an_unfinished_environment_is_finished(tmp_path):
    assert doctor.install_command(tmp_path, own=True, conda=False) == "make setup"


def test_in_conda_pip_installs(tmp_path):
    assert doctor.install_command(tmp_path, own=True, conda=True).startswith("pip install")


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


def test_the_script_is_written_in_python_3_9():
    ast.parse((ROOT / "scripts/doctor.py").read_text(), feature_version=(3, 9))


def test_a_bare_python_is_told_to_set_up_and_no_key_is_printed():
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts/doctor.py")]
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
