"""Each known problem of torch on Macs has a rule, tested with made-up versions of torch, macOS and the chip."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import doctor_versions
from doctor_facts import MachineInfo

CHIPS = ("Apple M1", "Apple M2 Ultra", "Apple M3 Pro", "Apple M4 Max", "Apple M5 Pro", "Apple M6", "Apple M1 (Virtual)")
UPDATE, UPGRADE = "update macOS", "make lock ARGS=--upgrade, then make setup"


def check(chip="Apple M4", macos="26.4", torch="2.15.0", locked=("2.15.0",), system="macOS"):
    """Return the findings of made-up facts; torch="": not installed."""
    machine = MachineInfo(system, macos, chip, "arm64", 16 * 2**30)
    installed = {"torch": torch} if torch else {}
    return list(doctor_versions.check_mac_versions(machine, installed, locked, "make setup"))


def find(part: str, **facts: object):
    """Return the only finding whose text contains a part, or None."""
    findings = [finding for finding in check(**facts) if part in finding.text]
    assert len(findings) <= 1
    return findings[0] if findings else None


@pytest.mark.parametrize(
    ("torch", "macos", "text"),
    [
        ("2.15.0", "14.7.2", "torch 2.15.0 requires macOS 15 or newer, but this is macOS 14.7.2"),
        ("2.16.0.dev20261101", "14.0", "requires macOS 15 or newer, but this is macOS 14.0"),
        ("2.14.1", "13.7.4", "torch 2.14.1 requires macOS 14 or newer, but this is macOS 13.7.4 (pytorch#173149)"),
        ("2.15.0", "15.0", None),
        ("2.14.1", "14.0", None),
        ("2.15.0", "26.4", None),
        ("2.15.0", "", None),
        ("2.15.0", "unknown", None),
        ("unknown", "14.0", None),
        ("3.0.0", "14.0", "torch 3.0.0 requires macOS 15 or newer, but this is macOS 14.0"),
    ],
)
def test_torch_requires_a_macos(torch, macos, text):
    finding = find("requires macOS", torch=torch, macos=macos, locked=(torch,))

    assert (finding and (finding.status, finding.fix)) == (text and ("fail", UPDATE))
    assert text is None or text in finding.text


@pytest.mark.parametrize(
    ("macos", "is_affected"),
    [("15.7", False), ("26.0", True), ("26.1", True), ("26.2.1", True), ("26.3", False), ("27.0", False)],
)
@pytest.mark.parametrize("torch", ["2.11.0", "2.15.0", ""])
def test_faulty_kernels_of_macos_26(macos, torch, is_affected):
    finding = find("pytorch#197114", macos=macos, torch=torch)

    assert (finding is not None) is is_affected
    assert finding is None or (finding.status, finding.fix) == ("warn", "update to macOS 26.3 or newer")


@pytest.mark.parametrize(
    ("macos", "torch", "is_affected"),
    [
        ("27.0", "2.13.1", True),
        ("28.1", "2.11.0", True),
        ("27.0", "2.14.0", False),
        ("27.0", "2.15.0", False),
        ("26.4", "2.13.1", False),
    ],
)
def test_old_torch_aborts_on_macos_27(macos, torch, is_affected):
    finding = find("pytorch#197796", macos=macos, torch=torch)

    assert (finding is not None) is is_affected
    assert finding is None or (finding.status, finding.fix) == ("fail", "make setup")


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(
    ("torch", "issue", "status"),
    [("2.11.0", 177116, "fail"), ("2.13.1", 177116, "fail"), ("2.14.1", 195163, "warn"), ("2.15.0", 195163, "warn")],
)
def test_long_inner_dimensions_are_wrong_on_m1_and_m2(chip, torch, issue, status):
    findings = [finding for finding in check(chip=chip, torch=torch) if "32766" in finding.text]

    if "M1" not in chip and "M2" not in chip:
        assert findings == []
        return
    (finding,) = findings
    assert f"pytorch#{issue}" in finding.text
    assert finding.status == status
    assert ("make setup" if status == "fail" else "data.batch_size x data.max_length at 32766") in finding.fix


@pytest.mark.parametrize("torch", ["2.14.1", "2.15.0"])
def test_inner_dimension_32767_is_wrong_without_a_batch(torch):
    finding = find("pytorch#195163", chip="Apple M1", torch=torch)

    assert "wrong batched matrix products on M1 and M2 if the inner dimension exceeds 32766, " in finding.text
    assert "and others if it is 32767" in finding.text


@pytest.mark.parametrize(
    ("torch", "issue"),
    [("2.11.0", 175189), ("2.13.1", 175189), ("2.14.0", 193349), ("2.14.1", 193349), ("2.15.0", None)],
)
def test_channels_last_needs_torch_2_15(torch, issue):
    finding = find("channels_last", torch=torch)

    assert (finding and finding.status) == (issue and "warn")
    assert issue is None or (f"pytorch#{issue}" in finding.text and finding.fix == "make setup")


def test_before_installation_the_locked_torch_counts():
    (finding,) = check(torch="", macos="14.6")

    assert finding.text == "torch 2.15.0 in the lock files requires macOS 15 or newer, but this is macOS 14.6"
    assert (finding.status, finding.fix) == ("fail", UPDATE)


def test_old_lock_is_upgraded():
    (aborts, channels_last) = check(torch="", macos="27.0", locked=("2.13.0",))

    assert "torch 2.13.0 in the lock files aborts on macOS 27.0" in aborts.text
    assert (aborts.fix, channels_last.fix) == (UPGRADE, UPGRADE)


def test_locked_torch_is_a_warning_while_another_one_is_installed():
    findings = check(torch="2.14.1", macos="14.6")

    assert [(finding.status, finding.fix) for finding in findings] == [("warn", "make setup"), ("warn", UPDATE)]
    assert "torch 2.14.1 has slow gradients" in findings[0].text
    assert "torch 2.15.0 in the lock files requires macOS 15" in findings[1].text


@pytest.mark.parametrize(("torch", "macos"), [("2.15.0+cpu", "26.1"), ("", "14.6"), ("2.14.1", "13.7")])
def test_each_problem_is_reported_once_for_equal_versions(torch, macos):
    once = check(torch=torch, macos=macos, locked=("2.15.0",))

    assert once
    assert check(torch=torch, macos=macos, locked=("2.15.0", "2.15.0")) == once


@pytest.mark.parametrize("chip", ["Apple M3", "Apple M4 Max", "Apple M5 Pro", "Apple M6", "Apple processor", ""])
def test_no_problem_is_known_for_new_versions(chip):
    assert check(chip=chip, macos="26.4") == check(chip=chip, macos="27.0") == check(chip=chip, macos="") == []


def test_other_systems_have_no_findings():
    assert check(system="Linux", macos="6.8", torch="2.11.0") == []


@pytest.mark.parametrize(
    ("chip", "generation"),
    [
        ("Apple M1", 1),
        ("Apple M1 Ultra", 1),
        ("Apple M2 Pro", 2),
        ("Apple M3 Max", 3),
        ("Apple M4", 4),
        ("Apple M5 Pro", 5),
        ("Apple M6 Max", 6),
        ("Apple M12", 12),
        ("Apple M1 (Virtual)", 1),
        ("Apple processor", None),
        ("VirtualApple @ 2.50GHz processor", None),
        ("Intel(R) Core(TM) M3-7Y32 CPU @ 1.10GHz", None),
        ("", None),
    ],
)
def test_chip_has_a_generation(chip, generation):
    assert MachineInfo("macOS", "26.4", chip, "arm64", 0).generation == generation
