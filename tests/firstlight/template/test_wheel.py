"""The package works where nothing but its wheel is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.config.options import iter_options

ROOT = Path(__file__).parents[3]


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command without this environment's own settings, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_in_an_empty_environment_it_trains_in_an_empty_folder(tmp_path):
    python, empty = tmp_path / "env" / "bin" / "python", tmp_path / "empty"
    empty.mkdir()
    if shutil.which("uv"):
        make = ("uv", "venv", "-q", "--python", sys.executable, str(tmp_path / "env"))
        build, install = ("uv", "build", "-q", "--wheel", "-o"), ("uv", "pip", "install", "-q", "--python", str(python))
    else:
        make = (sys.executable, "-m", "venv", str(tmp_path / "env"))
        build, install = (str(python), "-m", "pip", "wheel", "-q", "--no-deps", "-w"), (str(python), "-m", "pip")
        install += ("install", "-q")
    run(*make)
    run(*build, str(tmp_path), ".")
    (wheel,) = tmp_path.glob("*.whl")
    versions = tmp_path / "versions.txt"
    # pip takes no hashes for what it only constrains.
    lines = (ROOT / "requirements/base.lock").read_text().splitlines()
    versions.write_text("\n".join(line.rstrip("\\ ") for line in lines if "==" in line and not line.startswith(" ")))
    run(*install, "-c", str(versions), str(wheel))
    told = run(str(python), "-m", "firstlight.train", "experiment=smoke", "logger=none", cwd=empty)

    assert "test/accuracy" in told
    assert [path.name for path in empty.iterdir()] == ["logs"]
    helped = run(str(python), "-m", "firstlight.train", "--help", cwd=empty)
    assert all(name in helped for name, _ in iter_options("model"))
