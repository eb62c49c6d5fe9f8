"""A small template with two versions, and a project made from the first one without a common history."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import ROOT

PROGRAMS = ("manifest.py", "project.py", "update.py", "update_plan.py", "update_record.py", "update_source.py")
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
FIRST = {
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
SECOND = {
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


def git(folder: Path, *arguments: str) -> str:
    """Run git with a name and address of its own."""
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *author, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str | None]) -> None:
    """Write texts, and delete the files whose text is None."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(text.encode())


def commit(folder: Path, subject: str = "Change") -> str:
    """Commit everything, and return the commit."""
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", subject)
    return git(folder, "rev-parse", "HEAD")


def release(folder: Path, files: dict[str, str | None], tag: str) -> str:
    """Change the template, write its manifest, and tag the commit."""
    write(folder, files)
    git(folder, "add", "-A")
    subprocess.run([sys.executable, "scripts/manifest.py"], cwd=folder, check=True, capture_output=True)
    name = commit(folder, tag)
    git(folder, "tag", tag)
    return name


def make_template(folder: Path) -> str:
    """Write a template with the tags v1 and v2, and return the commit of v1."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", ".")
    (folder / "scripts").mkdir()
    for program in PROGRAMS:
        shutil.copy(ROOT / "scripts" / program, folder / "scripts")
    first = release(folder, FIRST, "v1")
    release(folder, SECOND, "v2")
    return first


def rename(folder: Path, name: str, before: str = "sample") -> None:
    """Give a project its own name as `make init` does: package, distribution, environment and W&B project."""
    for parent in ("src", "tests"):
        if (folder / parent / before).exists():
            (folder / parent / before).rename(folder / parent / name)
    swaps = {"pyproject.toml": 'name = "firstlight"', "configs/logger/wandb.yaml": "project: firstlight"}
    for path in git(folder, "ls-files", "-co", "--exclude-standard").splitlines():
        file = folder / path
        if (
            not file.is_file()
            or file.suffix == ".png"
            or path.startswith(("src/firstlight", "tests/firstlight", "scripts", "docs"))
        ):
            continue
        text = file.read_text().replace(before, name)
        if path == "environment.yml":
            text = text.replace("firstlight", name)
        file.write_text(text.replace(swaps.get(path, "\0"), swaps.get(path, "").replace("firstlight", name)))


def make_project(folder: Path, template: Path, commit_of_template: str, name: str = "zephyr") -> None:
    """Make a renamed project from the files of a commit of the template."""
    git(template.parent, "clone", "-q", "--no-checkout", str(template), str(folder))
    git(folder, "checkout", "-q", commit_of_template)
    shutil.rmtree(folder / ".git")
    git(folder, "init", "-q", ".")
    rename(folder, name)
    table = f'\n[tool.firstlight.template]\nurl = "{template}"\ncommit = "{commit_of_template}"\nversion = "0.1.0"\n'
    with (folder / "pyproject.toml").open("a") as file:
        file.write(table)
    commit(folder, "Start")


def update(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the project's own update program."""
    environment = {**os.environ, "GIT_DIR": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "scripts/update.py", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """Return a folder with a template and a project made from its version v1."""
    if "[tool.firstlight.template]" in (ROOT / "pyproject.toml").read_text():
        pytest.skip("tests of the template itself")
    folder = tmp_path_factory.mktemp("originals")
    first = make_template(folder / "template")
    make_project(folder / "project", folder / "template", first)
    return folder


@pytest.fixture
def template(originals, tmp_path):
    """Return a template of the test's own."""
    return Path(shutil.copytree(originals / "template", tmp_path / "template"))


@pytest.fixture
def project(originals, tmp_path):
    """Return a project of the test's own."""
    return Path(shutil.copytree(originals / "project", tmp_path / "project"))


def run_update(project, template, *words, ref="v2"):
    """Update, and return what was printed."""
    done = update(project, f"from={template}", f"ref={ref}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_failing_update(project, *words):
    """Return the one line on stderr of an update that was rejected, after which nothing has changed."""
    done = update(project, *words)
    assert done.returncode == 1
    assert (project / ".git").exists() is False or git(project, "status", "--porcelain") in ("", "?? notes.txt")
    (line,) = done.stderr.splitlines()
    return line
