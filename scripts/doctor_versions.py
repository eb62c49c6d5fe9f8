"""Known problems of torch on Macs by the versions of torch and macOS and by the chip, for `make doctor`.

Numbers such as pytorch#197114 are public issues of the repository pytorch/pytorch. Only the standard library. Runs on
Python 3.9 or newer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from doctor_facts import MachineInfo
from doctor_rules import Finding, parse_version

ALL_CHIPS = range(1, 100)
# A range of versions: the first affected one, and the first one without the problem.
ANY = ((0,), (999,))


class MacProblem(NamedTuple):
    """A problem of the macOS versions, torch versions and chip generations that lie in all three ranges.

    In `text`, {torch} and {macos} are replaced by the versions. `fix` is empty if another torch is the fix.
    """

    text: str
    status: Literal["warn", "fail"]
    fix: str = ""
    torch: tuple[tuple[int, ...], tuple[int, ...]] = ANY
    macos: tuple[tuple[int, ...], tuple[int, ...]] = ANY
    generations: range = ALL_CHIPS


MAC_PROBLEMS = (
    # The wheel is tagged macOS 14 and is installed there, but its MPS kernels are compiled for macOS 15.
    MacProblem(
        "torch {torch} requires macOS 15 or newer, but this is macOS {macos}",
        "fail",
        "update macOS",
        torch=((2, 15), ANY[1]),
        macos=(ANY[0], (15,)),
    ),
    MacProblem(
        "torch {torch} requires macOS 14 or newer, but this is macOS {macos} (pytorch#173149)",
        "fail",
        "update macOS",
        torch=((2, 8), (2, 15)),
        macos=(ANY[0], (14,)),
    ),
    # Reported for contiguous 3D convolutions; the kernels belong to macOS.
    MacProblem(
        "macOS {macos} has faulty GPU kernels, which compute wrong 3D convolutions (pytorch#197114)",
        "warn",
        "update to macOS 26.3 or newer",
        macos=((26,), (26, 3)),
    ),
    MacProblem(
        "torch {torch} aborts on macOS {macos} in bfloat16 linear layers (pytorch#197796)",
        "fail",
        torch=(ANY[0], (2, 14)),
        macos=((27,), ANY[1]),
    ),
    MacProblem(
        "torch {torch} computes wrong matrix products on M1 and M2 if the inner dimension exceeds 32766 "
        "(pytorch#177116)",
        "fail",
        torch=(ANY[0], (2, 14)),
        generations=range(1, 3),
    ),
    # torch 2.14 computes other matrix products with kernels of its own from 32768 on: the condition excludes 32767.
    # The issue is open: no fixed version is known.
    MacProblem(
        "torch {torch} computes wrong batched matrix products on M1 and M2 if the inner dimension exceeds 32766, and "
        "others if it is 32767 (pytorch#195163)",
        "warn",
        "keep data.batch_size x data.max_length at 32766 or less; `make preflight` checks a run",
        torch=((2, 14), ANY[1]),
        generations=range(1, 3),
    ),
    # Fixed by pytorch#188371. trainer=mps does not use channels_last with these versions.
    MacProblem(
        "torch {torch} computes wrong BatchNorm gradients on MPS with channels_last (pytorch#175189)",
        "warn",
        torch=(ANY[0], (2, 14)),
    ),
    # Fixed by pytorch#193623.
    MacProblem(
        "torch {torch} has slow gradients of convolutions on MPS with channels_last (pytorch#193349)",
        "warn",
        torch=((2, 14), (2, 15)),
    ),
)


def is_affected(problem: MacProblem, machine: MachineInfo, torch: str) -> bool:
    """Return True if a problem concerns a Mac with a torch version. A version without a number is unknown."""
    ranges = ((problem.macos, machine.release), (problem.torch, torch))
    return (problem.generations == ALL_CHIPS or machine.generation in problem.generations) and all(
        (first, fixed) == ANY or (any(parse_version(version)) and first <= parse_version(version) < fixed)
        for (first, fixed), version in ranges
    )


def check_mac_versions(
    machine: MachineInfo, installed: Mapping[str, str], locked: Sequence[str], install: str
) -> Iterator[Finding]:
    """Yield the known problems of this Mac with the installed torch, and with the locked torch if it is another one.

    Args:
        machine: Hardware and system.
        installed: Versions of the installed packages.
        locked: Versions of torch in the lock files, which `make setup` installs.
        install: Command that installs the locked versions.
    """
    if machine.system != "macOS":
        return
    current = installed.get("torch", "")
    problems = [problem for problem in MAC_PROBLEMS if is_affected(problem, machine, current)]
    for problem in problems:
        text = problem.text.format(torch=current, macos=machine.release)
        yield Finding("versions", problem.status, text, problem.fix or install)
    for torch in [version for version in dict.fromkeys(locked) if version != current.split("+")[0]]:
        for problem in [other for other in MAC_PROBLEMS if is_affected(other, machine, torch)]:
            # While another torch is installed, only the failures of the locked torch count, as warnings.
            if problem not in problems and (not current or problem.status == "fail"):
                text = problem.text.format(torch=f"{torch} in the lock files", macos=machine.release)
                status = "warn" if current else problem.status
                yield Finding("versions", status, text, problem.fix or "make lock ARGS=--upgrade, then make setup")
