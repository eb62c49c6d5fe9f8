"""Fixtures for `make update`: a small template with two versions, and a project made from the first version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import ROOT

SCRIPTS = (
    "manifest.py",
    "project.py",
    "repository.py",
    "progress.py",
    "json_output.py",
    "update.py",
    "update_plan.py",
    "update_record.py",
    "update_source.py",
)
EXAMPLE = "_target_: sample.net.Net\nwidth: 4\n"
PYPROJECT = """[project]
name = "firstlight"
version = "0.1.0"
dependencies = [
    "torch>=2",
]

[tool.hatch]
packages = ["src/firstlight", "src/sample"]

[tool.ruff]
line-length = 120
"""
TRAINER = "max_epochs: 4\n\n\ndevices: 1\n\n\nprecision: 32\n"
FIRST_VERSION = {
    "src/firstlight/__init__.py": "",
    "src/firstlight/core.py": "CORE = 1\n",
    "src/firstlight/old/dropped.py": "OLD = 1\n",
    "src/firstlight/export/__init__.py": "",
    "src/firstlight/export/__main__.py": "EXPORT = 1\n",
    "tests/firstlight/export/test_export.py": "# 1\n",
    "docs/export.md": "# Export\n",
    "docs/core.md": "# Core\n",
    "src/sample/__init__.py": "",
    "src/sample/net.py": "class Net: pass\n",
    "configs/model/net.yaml": EXAMPLE,
    "configs/data/folder.yaml": "_target_: firstlight.core.Folder\n",
    "configs/train.yaml": "defaults:\n  - trainer: auto\n  - model: net\n\n\nseed: 0\n",
    "configs/trainer/auto.yaml": TRAINER,
    "configs/trainer/cpu.yaml": "accelerator: cpu\n",
    "configs/trainer/tpu.yaml": "accelerator: tpu\n",
    "configs/logger/wandb.yaml": "project: firstlight\n\n\nmode: auto\n",
    "configs/export.yaml": "format: torch\n",
    "configs/trusted.yaml": "- firstlight\n- sample\n- lightning\n",
    "environment.yml": "# conda activate firstlight\nname: firstlight\n",
    "pyproject.toml": PYPROJECT,
    "README.md": "# firstlight\n",
}
SECOND_VERSION = {
    "src/firstlight/core.py": "CORE = 2\n",
    "src/firstlight/old/dropped.py": None,
    "src/firstlight/fresh/module.py": "FRESH = 1\n",
    "src/firstlight/export/onnx.py": "ONNX = 1\n",
    "docs/core.md": "# The core\n",
    "src/sample/net.py": None,
    "configs/model/net.yaml": None,
    "src/sample/wide.py": "class Wide: pass\n",
    "configs/model/wide.yaml": "_target_: sample.wide.Wide\n",
    "configs/train.yaml": "defaults:\n  - trainer: auto\n  - model: wide\n\n\nseed: 1\n",
    "configs/trainer/auto.yaml": TRAINER.replace("max_epochs: 4", "max_epochs: 8"),
    "configs/trainer/cpu.yaml": None,
    "configs/trainer/mps.yaml": "accelerator: mps  # see src/sample\n",
    "configs/logger/wandb.yaml": "project: firstlight\n\n\nmode: online\n",
    "configs/export.yaml": "format: onnx\n",
    "configs/trusted.yaml": "- firstlight\n- sample\n- torchmetrics\n- lightning\n",
    "environment.yml": "# conda activate firstlight\nname: firstlight\nchannels: [conda-forge]\n",
    "pyproject.toml": PYPROJECT.replace("0.1.0", "0.2.0").replace('"torch>=2"', '"torch>=2.11"'),
    "README.md": "# firstlight, improved\n",
}


def git(directory: Path, *arguments: str) -> str:
    """Run git with an author, and return its output."""
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *author, *arguments], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write_files(directory: Path, files: dict[str, str | None]) -> None:
    """Write files, and delete the files whose content is None."""
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (directory / path).unlink()
        else:
            (directory / path).write_bytes(text.encode())


def commit(directory: Path, subject: str = "Change") -> str:
    """Commit all changes, and return the commit."""
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", subject)
    return git(directory, "rev-parse", "HEAD")


def release(directory: Path, files: dict[str, str | None], tag: str) -> str:
    """Change the template, write its manifest, tag the commit, and return it."""
    write_files(directory, files)
    git(directory, "add", "-A")
    subprocess.run([sys.executable, "scripts/manifest.py"], cwd=directory, check=True, capture_output=True)
    commit_hash = commit(directory, tag)
    git(directory, "tag", tag)
    return commit_hash


def make_template(directory: Path) -> str:
    """Create a template with the tags v1 and v2, and return the commit of v1."""
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main", ".")
    (directory / "scripts").mkdir()
    for script in SCRIPTS:
        shutil.copy(ROOT / "scripts" / script, directory / "scripts")
    first = release(directory, FIRST_VERSION, "v1")
    release(directory, SECOND_VERSION, "v2")
    return first


def rename_project(directory: Path, name: str, old: str = "sample") -> None:
    """Rename a project as `make init` does: package, distribution, conda environment and W&B project."""
    for parent in ("src", "tests"):
        if (directory / parent / old).exists():
            (directory / parent / old).rename(directory / parent / name)
    names = {"pyproject.toml": 'name = "firstlight"', "configs/logger/wandb.yaml": "project: firstlight"}
    for path in git(directory, "ls-files", "-co", "--exclude-standard").splitlines():
        file = directory / path
        if (
            not file.is_file()
            or file.suffix == ".png"
            or path.startswith(("src/firstlight", "tests/firstlight", "scripts", "docs"))
        ):
            continue
        text = file.read_text().replace(old, name)
        if path == "environment.yml":
            text = text.replace("firstlight", name)
        file.write_text(text.replace(names.get(path, "\0"), names.get(path, "").replace("firstlight", name)))


def make_project(directory: Path, template: Path, template_commit: str, name: str = "zephyr") -> None:
    """Create a renamed project from a commit of the template, without its history."""
    git(template.parent, "clone", "-q", "--no-checkout", str(template), str(directory))
    git(directory, "checkout", "-q", template_commit)
    shutil.rmtree(directory / ".git")
    git(directory, "init", "-q", ".")
    rename_project(directory, name)
    table = f'\n[tool.firstlight.template]\nurl = "{template}"\ncommit = "{template_commit}"\nversion = "0.1.0"\n'
    with (directory / "pyproject.toml").open("a") as file:
        file.write(table)
    commit(directory, "Start")


def try_update(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `scripts/update.py` of a project."""
    environment = {**os.environ, "GIT_DIR": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "scripts/update.py", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """Return a directory with a template and a project made from its version v1."""
    if "[tool.firstlight.template]" in (ROOT / "pyproject.toml").read_text():
        pytest.skip("tests of the template itself")
    directory = tmp_path_factory.mktemp("originals")
    first = make_template(directory / "template")
    make_project(directory / "project", directory / "template", first)
    return directory


@pytest.fixture
def template(originals, tmp_path):
    """Return a copy of the template for one test."""
    return Path(shutil.copytree(originals / "template", tmp_path / "template"))


@pytest.fixture
def project(originals, tmp_path):
    """Return a copy of the project for one test."""
    return Path(shutil.copytree(originals / "project", tmp_path / "project"))


def run_update(project, template, *arguments, ref="v2"):
    """Update a project, and return the output."""
    done = try_update(project, f"from={template}", f"ref={ref}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_failing_update(project, *arguments):
    """Return the single line on stderr of a rejected update, and check that no file has changed."""
    done = try_update(project, *arguments)
    assert done.returncode == 2
    assert (project / ".git").exists() is False or git(project, "status", "--porcelain") in ("", "?? notes.txt")
    (line,) = done.stderr.splitlines()
    return line
