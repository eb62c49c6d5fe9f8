"""The environment belongs to its checkout, and set-up installs into it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import checkout
import doctor_rules
import verify_setup


def write_sources(root: Path, package: str) -> Path:
    (root / "src" / package).mkdir(parents=True)
    (root / "src" / package / "__init__.py").touch()
    return root


def test_own_sources_are_no_problem(tmp_path, monkeypatch):
    root = write_sources(tmp_path, "some_engine")
    monkeypatch.syspath_prepend(root / "src")

    assert checkout.find_problem(root) == ""
    assert doctor_rules.check_checkout("", "").status == "ok"


def test_copied_checkout_is_a_problem(tmp_path, monkeypatch):
    original = write_sources(tmp_path / "original", "some_engine")
    copy = write_sources(tmp_path / "copy", "some_engine")
    monkeypatch.syspath_prepend(original / "src")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    problem = checkout.find_problem(copy)

    assert problem == f"some_engine is imported from {original}/src/some_engine instead of {copy}/src/some_engine"
    assert checkout.get_fix(copy).startswith("make clean setup, because the environment was probably copied or moved")
    assert doctor_rules.check_checkout(problem, "fix").status == "fail"


def test_moved_checkout_is_a_problem(tmp_path):
    moved = write_sources(tmp_path, "moved_engine")

    assert checkout.find_problem(moved) == f"moved_engine is not installed in {sys.prefix}"


def test_fixes_for_a_path_variable_and_conda(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert checkout.get_fix(tmp_path) == f"unset PYTHONPATH, or set it to {tmp_path / 'src'}"
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setenv("CONDA_PREFIX", sys.prefix)
    assert checkout.get_fix(tmp_path) == "pip install --no-deps -e ."


@pytest.mark.parametrize("arguments", [["scripts/checkout.py"], ["scripts/make.py", "run", "some_engine.train"]])
def test_commands_of_a_copied_checkout_name_the_fix(tmp_path, arguments):
    copy = write_sources(tmp_path, "firstlight")
    (copy / "scripts").mkdir()
    for name in ("checkout.py", "json_output.py", "make.py", "help.txt"):
        (copy / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, env=environment)

    assert process.returncode == 1
    assert process.stderr.startswith(f"make: firstlight is imported from {ROOT}/src/firstlight instead of {copy}/src")
    assert process.stderr.endswith(f"Fix: unset PYTHONPATH, or set it to {copy}/src.\n")


LOCK = """\
first-package==1.0 \\
    --hash=sha256:00
second.package==2.0
on-macos==3.0 ; sys_platform == 'darwin' \\
    --hash=sha256:00
"""


def install(directory: Path, name: str, version: str) -> None:
    info = directory / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_complete_installation_is_verified(tmp_path):
    (tmp_path / "base.lock").write_text(LOCK)
    for name, version in (("First_Package", "1.0"), ("second-package", "2.0"), ("zephyr", "0.1")):
        install(tmp_path / "packages", name, version)

    assert verify_setup.find_problems([tmp_path / "base.lock"], "zephyr", [str(tmp_path / "packages")]) == []


def test_installation_elsewhere_is_found(tmp_path):
    (tmp_path / "base.lock").write_text(LOCK)
    install(tmp_path / "packages", "first-package", "0.9")
    problems = verify_setup.find_problems([tmp_path / "base.lock"], "zephyr", [str(tmp_path / "packages")])

    assert problems == ["first-package 0.9 instead of 1.0", "second.package is missing", "zephyr is missing"]


def test_setup_ignores_and_verifies():
    text = (ROOT / "scripts/setup.sh").read_text()

    assert "unset PIP_USER PIP_PREFIX PIP_TARGET PIP_ROOT PIP_DRY_RUN" in text
    assert text.rstrip().endswith(".venv/bin/python -I scripts/verify_setup.py $locks")


def test_repository_of_another_user_is_named(tmp_path):
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\necho 'fatal: detected dubious ownership in repository' >&2\nexit 128\n")
    git.chmod(0o755)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import project, pathlib; project.read_files(pathlib.Path('.'))"
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-c", code, str(ROOT / "scripts")]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    assert "belongs to another user, so git ignores it. If you trust it, run `git config --global" in process.stderr
