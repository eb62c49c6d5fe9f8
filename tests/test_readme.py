"""README's commands compose, and its example works as it is printed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from firstlight.check import check, choices
from firstlight.compose import composed
from firstlight.record import with_checksum
from firstlight.sweep_plan import combinations

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.splitlines()
    if line.startswith("make ")
]
HELP = [
    shlex.split(line) for line in re.findall(r"^make .*?(?=\s{2,}|;|$)", (ROOT / "scripts/help.txt").read_text(), re.M)
]


@pytest.fixture
def run_folder(tmp_path):
    """Return a folder that looks like a finished run."""
    config = OmegaConf.to_yaml(composed("train", [f"output_dir={tmp_path}"]))
    (tmp_path / "config.yaml").write_text(with_checksum(config))
    (tmp_path / "run.json").write_text(json.dumps({"loggers": {}, "status": "interrupted"}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path


@pytest.mark.parametrize("words", [*COMMANDS, *HELP], ids=" ".join)
def test_a_command_composes(words, run_folder):
    command = words[1]
    assert f"\n{command}:" in (ROOT / "Makefile").read_text()

    words = [word.replace("logs/train/<run>", str(run_folder)) for word in words[2:] if not word.startswith("ARGS=")]
    words = [f"resume={run_folder}" if word == "resume=last" else word for word in words]
    if command == "sweep":
        jobs = combinations(words)
        assert len(jobs) > 1
        for job in jobs:
            check(composed("train", [*job, "output_dir=logs"]))
    elif command in ("train", "evaluate", "predict", "export", "preflight"):
        output = [] if any("resume=" in word for word in words) or command != "train" else ["output_dir=logs"]
        check(composed(command, [*words, *output]))


@pytest.mark.parametrize("group", ["model", "data"])
def test_every_choice_stands_in_the_readme(group):
    assert [name for name, _ in choices(group) if f"`{name}`" not in README] == []


def test_files_that_are_named_exist():
    for name in ("CONTRIBUTING.md", "environment.yml", "scripts", "tests", "src/firstlight/data/digits.py"):
        assert name.rpartition("/")[2] in README
        assert (ROOT / name).exists()


def test_conda_brings_the_python_that_pyproject_allows():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"python{project['requires-python']}" == environment["dependencies"][0]
    assert {"pytorch", "defaults"}.isdisjoint(environment["channels"])


def test_the_lock_holds_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()

    assert "://" not in lock
    assert "--index" not in lock
    assert all("--hash=" in entry for entry in re.split(r"\n(?=\w)", lock))


@pytest.mark.slow
def test_the_example_model_trains_and_is_tested_like_all(tmp_path):
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for kind, block in BLOCKS:
        if kind in ("python", "yaml"):
            path = re.search(r"^# ((?:src|configs)/\S+)$", block, re.MULTILINE).group(1)
            (tmp_path / path).write_text(block)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def python(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = python("firstlight.train", "model=linear", "logger=none")
    tested = python("pytest", "tests", "-k", "linear", "-p", "no:cacheprovider")

    assert float(re.search(r"test/accuracy +([\d.]+)", told).group(1)) > 0.8
    assert int(re.search(r"(\d+) passed", tested).group(1)) >= 10
