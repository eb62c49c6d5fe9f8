"""Each problem that `make doctor` finds has a status and a fix; made-up facts allow to test it on any machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import doctor_rules as rules
from doctor_facts import MachineInfo, TorchInfo
from doctor_rules import HIGH, LOW, Finding

MAC = MachineInfo("macOS", "26.1", "Apple M4", "arm64", 16 * 2**30, battery="Now drawing from 'AC Power'")
LINUX = MachineInfo("Linux", "6.8", "Intel Xeon", "x86_64", 16 * 2**30)
WINDOWS = MachineInfo("Windows", "11", "AMD64", "AMD64", 0)
MAC_TORCH = TorchInfo(built=True, available=True, recommended_bytes=10 * 2**30)
VERSIONS = {
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "lightning": "2.6.6",
    "transformers": "5.23.0",
    "hydra-core": "1.3.8",
    "wandb": "0.31.0",
}
PINS = {name: [version] for name, version in VERSIONS.items()}
TORCH_REQUIREMENT = "torch (>=2.14.0)"


def to_list(findings):
    """Return the result of a check as a list, whether it is one finding or an iterable of findings."""
    return [findings] if isinstance(findings, Finding) else list(findings)


def check_python(machine, version="3.12.4", setup_python=""):
    return rules.check_python(machine, version, setup_python, "make setup")


def check_packages(pins=PINS, requirement=TORCH_REQUIREMENT, **versions):
    return rules.check_packages({**VERSIONS, **versions}, pins, requirement, "make setup")


def check_versions(machine=MAC, **versions):
    return rules.check_versions(machine, {**VERSIONS, **versions}, "make setup")


def check_mps(torch, machine=MAC):
    return rules.check_mps(machine, torch, "make setup")


def check_variables(machine=MAC, **values):
    return rules.check_mps_variables(machine, values)


PROBLEMS = {
    "Intel Mac": (rules.check_system(MAC._replace(chip="Intel(R) Core(TM) i7")), "fail", "Intel", "Apple silicon"),
    "Python 3.10": (check_python(MAC, "3.10.1"), "fail", "requires Python 3.11 to 3.14", "install Python 3.12"),
    "Python 3.15": (check_python(MAC, "3.15.0"), "fail", "requires Python 3.11 to 3.14", "install Python 3.12"),
    "old Python before setup": (check_python(MAC, "3.9.6", "/bin/python3.12"), "warn", "/bin/python3.12", "make setup"),
    "Rosetta": (check_python(MAC._replace(translated=True)), "fail", "Rosetta", "arm64 Python"),
    "Rosetta detected by chip": (
        check_python(MAC._replace(architecture="x86_64")),
        "fail",
        "Rosetta",
        "make clean setup",
    ),
    "nothing installed": (rules.check_packages({}, PINS, "", "make setup"), "fail", "not installed", "make setup"),
    "other version": (check_packages(wandb="0.30.0"), "warn", "wandb 0.30.0 instead of 0.31.0", "make setup"),
    "torch too old for torchvision": (
        check_packages(torch="2.13.0"),
        "fail",
        "torchvision 0.29.2 requires torch (>=2.14.0)",
        "make setup",
    ),
    "torch not as torchvision requires": (
        check_packages(requirement="torch==2.11.0"),
        "fail",
        "requires torch==2.11.0, found 2.15.0",
        "make setup",
    ),
    "lightning 2.6.2": (check_versions(LINUX, lightning="2.6.2"), "fail", "malicious", "rotate all credentials"),
    "lightning 2.6.3": (check_versions(lightning="2.6.3"), "fail", "malicious", "make setup"),
    "lightning 2.5": (check_versions(lightning="2.5.6"), "warn", "mixed precision", "make setup"),
    "no torch": (check_mps(None), "warn", "not checked", "make setup"),
    "broken torch": (check_mps(TorchInfo(error="ImportError: libomp")), "fail", "ImportError: libomp", "make setup"),
    "torch without MPS": (check_mps(TorchInfo()), "fail", "built without MPS", "make setup"),
    "no GPU": (check_mps(TorchInfo(built=True)), "fail", "no GPU was found", "trainer=cpu"),
    "high 0": (check_variables(**{HIGH: "0"}), "warn", "will swap", f"unset {HIGH}"),
    "high above 1": (check_variables(**{HIGH: "1.5"}), "warn", "will swap", f"unset {HIGH}"),
    "only low, above 1": (check_variables(**{LOW: "1.2"}), "warn", "will swap", f"unset {HIGH} {LOW}"),
    "low above high": (check_variables(**{HIGH: "0.8", LOW: "0.9"}), "fail", "low <= high", f"unset {HIGH} {LOW}"),
    "high above 2": (check_variables(**{HIGH: "2.5", LOW: "1"}), "fail", "high <= 2", f"unset {HIGH} {LOW}"),
    "not a number": (check_variables(**{HIGH: "one", LOW: "0"}), "fail", "numbers", f"unset {HIGH} {LOW}"),
    "nan": (check_variables(**{HIGH: "nan", LOW: "0"}), "fail", "numbers", f"unset {HIGH} {LOW}"),
    "fallback": (
        check_variables(PYTORCH_ENABLE_MPS_FALLBACK="1"),
        "warn",
        "run on the CPU",
        "unset PYTORCH_ENABLE_MPS",
    ),
    "DISABLE_MPS": (check_variables(DISABLE_MPS="1"), "warn", "ignores the GPU", "unset DISABLE_MPS"),
    "low disk space": (rules.check_disk({"logs": 50e9, "data": 19e9}), "warn", "19.0 GB free for data/", "delete old"),
    "no disk space": (rules.check_disk({"logs": 1.9e9, "data": 50e9}), "fail", "1.9 GB free for logs/", "larger disk"),
    "logs not writable": (rules.check_logs_writable("Permission denied"), "fail", "Permission denied", "mkdir -p logs"),
    "battery": (rules.check_power(MAC._replace(battery="from 'Battery Power'")), "warn", "battery", "charger"),
    "low power": (
        rules.check_power(MAC._replace(power_settings=" lowpowermode 1")),
        "warn",
        "Low Power Mode",
        "turn off",
    ),
    "power mode": (
        rules.check_power(MAC._replace(power_settings=" powermode  1")),
        "warn",
        "Low Power Mode",
        "turn off",
    ),
}
VALID = {
    "Mac": rules.check_system(MAC),
    "newer chip": rules.check_system(MAC._replace(chip="Apple M6 Pro")),
    "Linux": rules.check_system(LINUX),
    "Windows": rules.check_system(WINDOWS),
    "Mac without tools": rules.check_system(MAC._replace(release="", chip="")),
    "Python 3.11": check_python(MAC, "3.11.0"),
    "Python 3.14": check_python(LINUX, "3.14.10"),
    "x86_64 Python on Linux": check_python(LINUX),
    "locked versions": check_packages(),
    "local build of the locked version": check_packages(torch="2.15.0+cu132"),
    "no pins": check_packages(pins={}, wandb="0.99"),
    "known versions": check_versions(),
    "MPS": check_mps(MAC_TORCH),
    "no MPS on Linux": check_mps(TorchInfo(), LINUX),
    "CUDA": check_mps(TorchInfo(cuda="NVIDIA H200"), LINUX),
    "memory": rules.report_memory(MAC, MAC_TORCH),
    "unknown memory": rules.report_memory(WINDOWS, None),
    "no variables": check_variables(),
    "ratios of a training run": check_variables(**{HIGH: "1.0", LOW: "0.9"}),
    "only high": check_variables(**{HIGH: "1.0"}),
    "only low": check_variables(**{LOW: "0.5"}),
    "fallback off": check_variables(PYTORCH_ENABLE_MPS_FALLBACK="0"),
    "ratios on Linux": check_variables(LINUX, **{HIGH: "x"}),
    "no API key": rules.check_wandb({}, False),
    "API key": rules.check_wandb({}, True),
    "disk space": rules.check_disk({"logs": 20e9, "data": 50e9}),
    "logs writable": rules.check_logs_writable(""),
    "AC power": rules.check_power(MAC),
    "full power": rules.check_power(MAC._replace(power_settings=" lowpowermode 0\n powermode 2")),
    "no power tool": rules.check_power(LINUX),
}


@pytest.mark.parametrize(("findings", "status", "text", "fix"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem_has_status_and_fix(findings, status, text, fix):
    worst = min(to_list(findings), key=lambda finding: ("fail", "warn", "ok").index(finding.status))

    assert status == worst.status
    assert text in worst.text
    assert fix in worst.fix


@pytest.mark.parametrize("findings", VALID.values(), ids=VALID)
def test_no_problem_means_ok_without_fix(findings):
    assert all((finding.status, finding.fix) == ("ok", "") for finding in to_list(findings))


@pytest.mark.parametrize("chip", ["Apple M1", "Apple M5 Max", "Apple M6", "Apple processor"])
def test_newer_chips_are_named(chip):
    text = rules.check_system(MAC._replace(chip=chip)).text

    assert text.startswith(f"macOS 26.1, {chip}")
    assert ("newer than the known chips, M1 to M5" in text) is (chip == "Apple M6")


def test_each_problem_is_one_finding():
    findings = check_variables(DISABLE_MPS="1", PYTORCH_ENABLE_MPS_FALLBACK="1", **{HIGH: "3"})

    assert [finding.status for finding in findings] == ["fail", "warn", "warn"]


def test_only_missing_packages_are_listed():
    finding = rules.check_packages({"torch": "2.15.0"}, PINS, "", "make setup")

    assert "torchvision" in finding.text
    assert "torch," not in finding.text


def test_memory_includes_gpu_limit():
    text = rules.report_memory(MAC._replace(wired_limit_mb=12000), MAC_TORCH).text

    assert text == "16.0 GiB RAM, 10.0 GiB recommended for the GPU, iogpu.wired_limit_mb=12000"


@pytest.mark.parametrize(("mode", "text"), [("offline", "WANDB_MODE=offline"), ("", "logged in")])
def test_wandb_mode_is_reported_if_set(mode, text):
    assert text in rules.check_wandb({"WANDB_MODE": mode}, True).text


@pytest.mark.parametrize(
    ("version", "requirement", "expected"),
    [
        ("2.15.0", "torch (>=2.14.0)", True),
        ("2.13.1", "torch (>=2.14.0)", False),
        ("2.11.0+cu128", "torch==2.11.0", True),
        ("2.15.0", "torch==2.11.0", False),
        ("2.15.0.dev20260901", "torch<3,>=2.14 ; python_version >= '3.11'", True),
        ("2.15.0", "", True),
    ],
)
def test_requirement_specifiers_match_pip(version, requirement, expected):
    assert expected is rules.satisfies(version, requirement)
