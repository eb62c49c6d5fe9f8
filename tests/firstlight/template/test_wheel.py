"""The package works if only its wheel is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.config.options import iter_options

ROOT = Path(__file__).parents[3]


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command without the Python settings of this environment, and return the output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_trains_in_new_environment(tmp_path):
    python, directory = tmp_path / "env" / "bin" / "python", tmp_path / "empty"
    directory.mkdir()
    if shutil.which("uv"):
        create = ("uv", "venv", "-q", "--python", sys.executable, str(tmp_path / "env"))
        build, install = ("uv", "build", "-q", "--wheel", "-o"), ("uv", "pip", "install", "-q", "--python", str(python))
    else:
        create = (sys.executable, "-m", "venv", str(tmp_path / "env"))
        build, install = (str(python), "-m", "pip", "wheel", "-q", "--no-deps", "-w"), (str(python), "-m", "pip")
        install += ("install", "-q")
    run(*create)
    run(*build, str(tmp_path), ".")
    (wheel,) = tmp_path.glob("*.whl")
    versions = tmp_path / "versions.txt"
    # pip does not accept hashes in constraint files.
    lines = (ROOT / "requirements/base.lock").read_text().splitlines()
    versions.write_text("\n".join(line.rstrip("\\ ") for line in lines if "==" in line and not line.startswith(" ")))
    run(*install, "-c", str(versions), str(wheel))
    output = run(str(python), "-m", "firstlight.train", "experiment=smoke", "logger=none", cwd=directory)

    assert "test/accuracy" in output
    assert [path.name for path in directory.iterdir()] == ["logs"]
    help_text = run(str(python), "-m", "firstlight.train", "--help", cwd=directory)
    assert all(name in help_text for name, _ in iter_options("model"))
