"""`make setup` checks the version of macOS before it downloads; planted commands answer as on a Mac."""

import os
import shutil
import subprocess

import pytest

from support.checkout import ROOT


@pytest.fixture
def mac(tmp_path):
    """Return a function that runs scripts/setup.sh on a pretended Mac, and the file that lists its calls of uv."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("setup.sh", "check_macos.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "scripts/find_python.sh").write_text("echo /usr/bin/python3\n")
    (tmp_path / "bin").mkdir()
    calls = tmp_path / "calls"
    # The first call of uv ends the installation.
    programs = {"uname": 'echo "$SYSTEM"', "sw_vers": 'echo "$RELEASE"', "uv": f'echo "$@" >> {calls}; exit 3'}
    for name, line in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def run(release: str, torch: str, system: str = "Darwin") -> subprocess.CompletedProcess[str]:
        (tmp_path / "requirements/base.lock").write_text(f"torch=={torch} \\\n    --hash=sha256:0\ntorchvision==9 \\\n")
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SYSTEM": system, "RELEASE": release}
        command = ["sh", str(tmp_path / "scripts/setup.sh")]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return run, calls


@pytest.mark.parametrize(
    ("release", "torch", "required"),
    [
        ("14.7.2", "2.15.0", 15),
        ("14.0", "2.16.1", 15),
        ("13.7.4", "2.14.1", 14),
        ("14.7", "3.0.0", 15),
        ("10.16", "2.15.0", 15),
    ],
)
def test_old_macos_stops_before_the_download(mac, release, torch, required):
    run, calls = mac
    result = run(release, torch)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"setup: torch {torch} requires macOS {required} or newer, but this is macOS {release}. Update macOS.\n"
    )
    assert not calls.exists()


@pytest.mark.parametrize(
    ("release", "torch", "system"),
    [
        ("15.0", "2.15.0", "Darwin"),
        ("26.4.1", "2.15.0", "Darwin"),
        ("27.0", "2.15.0", "Darwin"),
        ("14.7.2", "2.14.1", "Darwin"),
        ("", "2.15.0", "Darwin"),
        ("unknown", "2.15.0", "Darwin"),
        ("14.7.2", "2.15.0", "Linux"),
    ],
)
def test_other_systems_are_installed(mac, release, torch, system):
    run, calls = mac
    result = run(release, torch, system)

    assert result.returncode == 3
    assert calls.read_text().startswith("venv ")
