"""`make doctor` names each fault with its repair; the facts of a Mac are planted, so that any machine can test it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import doctor_rules as rules
from doctor_facts import Machine, Torch
from doctor_rules import HIGH, LOW, Finding

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


def judged(findings):
    """Return findings as a list, whether a check gives one, several or none."""
    return [findings] if isinstance(findings, Finding) else list(findings)


def python_of(machine, version="3.12.4", found=""):
    return rules.judge_python(machine, version, found, "make setup")


def packages(pins=PINS, pair=PAIR, **versions):
    return rules.judge_packages({**VERSIONS, **versions}, pins, pair, "make setup")


def known(machine=MAC, **versions):
    return rules.judge_versions(machine, {**VERSIONS, **versions}, "make setup")


def mps(torch, machine=MAC):
    return rules.judge_mps(machine, torch, "make setup")


def variables(machine=MAC, **values):
    return rules.judge_variables(machine, values)


FAULTS = {
    "macOS 14": (rules.judge_system(MAC._replace(release="14.7")), "fail", "needs macOS 15", "update macOS"),
    "Intel Mac": (rules.judge_system(MAC._replace(chip="Intel(R) Core(TM) i7")), "fail", "Intel", "Apple chip"),
    "Python 3.10": (python_of(MAC, "3.10.1"), "fail", "needs 3.11, 3.12 or 3.13", "install Python 3.12"),
    "Python 3.14": (python_of(MAC, "3.14.0"), "fail", "needs 3.11, 3.12 or 3.13", "install Python 3.12"),
    "an old Python before setup": (python_of(MAC, "3.9.6", "/bin/python3.12"), "warn", "/bin/python3.12", "make setup"),
    "Rosetta": (python_of(MAC._replace(translated=True)), "fail", "Rosetta", "arm64 Python"),
    "Rosetta by the chip": (python_of(MAC._replace(architecture="x86_64")), "fail", "Rosetta", "make clean setup"),
    "nothing installed": (rules.judge_packages({}, PINS, "", "make setup"), "fail", "not installed", "make setup"),
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
    "little space": (rules.judge_disk({"logs": 50e9, "data": 19e9}), "warn", "19.0 GB free at data/", "delete old"),
    "no space": (rules.judge_disk({"logs": 1.9e9, "data": 50e9}), "fail", "1.9 GB free at logs/", "larger disk"),
    "no logs": (rules.judge_logs("Permission denied"), "fail", "Permission denied", "mkdir -p logs"),
    "battery": (rules.judge_power(MAC._replace(battery="from 'Battery Power'")), "warn", "battery", "charger"),
    "low power": (rules.judge_power(MAC._replace(power_settings=" lowpowermode 1")), "warn", "low power", "turn off"),
    "power mode": (rules.judge_power(MAC._replace(power_settings=" powermode  1")), "warn", "low power", "turn off"),
}
SOUND = {
    "a Mac": rules.judge_system(MAC),
    "Linux": rules.judge_system(LINUX),
    "Windows": rules.judge_system(WINDOWS),
    "a Mac whose tools are absent": rules.judge_system(MAC._replace(release="", chip="")),
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
    "memory": rules.judge_memory(MAC, MAC_TORCH),
    "unknown memory": rules.judge_memory(WINDOWS, None),
    "no variables": variables(),
    "the training's ratios": variables(**{HIGH: "1.0", LOW: "0.9"}),
    "only high": variables(**{HIGH: "1.0"}),
    "only low": variables(**{LOW: "0.5"}),
    "fallback off": variables(PYTORCH_ENABLE_MPS_FALLBACK="0"),
    "ratios off the Mac": variables(LINUX, **{HIGH: "x"}),
    "no key": rules.judge_wandb({}, False),
    "a key": rules.judge_wandb({}, True),
    "space": rules.judge_disk({"logs": 20e9, "data": 50e9}),
    "logs": rules.judge_logs(""),
    "mains": rules.judge_power(MAC),
    "full power": rules.judge_power(MAC._replace(power_settings=" lowpowermode 0\n powermode 2")),
    "no power tool": rules.judge_power(LINUX),
}


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
    finding = rules.judge_packages({"torch": "2.15.0"}, PINS, "", "make setup")

    assert "torchvision" in finding.text
    assert "torch," not in finding.text


def test_memory_tells_the_part_of_the_gpu():
    text = rules.judge_memory(MAC._replace(wired_limit_mb=12000), MAC_TORCH).text

    assert text == "16.0 GiB RAM, 10.0 GiB recommended for the GPU, iogpu.wired_limit_mb=12000"


@pytest.mark.parametrize(("mode", "text"), [("offline", "WANDB_MODE=offline"), ("", "logged in")])
def test_the_mode_of_wandb_is_told_where_it_is_set(mode, text):
    assert text in rules.judge_wandb({"WANDB_MODE": mode}, True).text


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
    assert fits is rules.satisfies(version, requirement)
