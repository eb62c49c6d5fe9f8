"""A project made from this checkout passes its checks and tests after `make update`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT, ROOT
from support.template_update import commit, git, run_update, write_files

TRAINER = "configs/trainer/auto.yaml"
COMPOSE = """
import sys
from pathlib import Path
from hydra import compose, initialize_config_dir
from firstlight.config.hydra_version import VERSION_BASE

saved = f"hydra.searchpath=[file://{sys.argv[1]}]"
roots = [path.stem for path in Path("configs").glob("*.yaml") if path.stem != "trusted"]
with initialize_config_dir(str(Path("configs").resolve()), **VERSION_BASE):
    for root in roots:
        compose(root, [saved])
    compose("train", ["model=own"])
"""


def run_python(directory: Path, *command: str) -> str:
    """Run Python with the sources of a project, and return the output."""
    environment = {**os.environ, "PYTHONPATH": str(directory / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *command], cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout


def copy_checkout(directory: Path) -> str:
    """Copy the tracked files, add an engine file that the next version deletes, and return the commit."""
    for path in git(ROOT, "ls-files").splitlines():
        if (ROOT / path).is_file():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, directory / path)
    git(directory, "init", "-q", "-b", "main", ".")
    write_files(directory, {"src/firstlight/run/deleted.py": '"""Deleted later."""\n'})
    git(directory, "add", "-A")
    run_python(directory, "scripts/manifest.py")
    return commit(directory, "0.1.0")


def find_default_example(directory: Path) -> tuple[str, str]:
    """Return the default model and its dataset."""
    root = (directory / "configs/train.yaml").read_text()
    model = re.search(r"- model: (\w+)", root)[1]
    text = (directory / f"configs/model/{model}.yaml").read_text()
    return model, (re.search(r"override /data: (\w+)", text) or re.search(r"- data: (\w+)", root))[1]


def start_project(template: Path, directory: Path, keep: str) -> None:
    """Create a project named zephyr in a new git repository."""
    git(template.parent, "clone", "-q", str(template), str(directory))
    run_python(directory, "scripts/init.py", "name=zephyr", f"keep={keep}", "holder=A")
    shutil.rmtree(directory / ".git")
    git(directory, "init", "-q", ".")
    commit(directory, "Start")


def add_model(directory: Path, example: str) -> None:
    """Add a copy of a model named `own`, with a config."""
    config = (directory / f"configs/model/{example}.yaml").read_text()
    name = re.search(rf"zephyr\.model\.{example}\.(\w+)", config)[1]
    source = (directory / f"src/zephyr/model/{example}.py").read_text()
    write_files(directory, {"src/zephyr/model/own.py": re.sub(rf"\b{name}\b", "Own", source)})
    write_files(directory, {"configs/model/own.yaml": config.replace(f"{example}.{name}", "own.Own")})


def release_next(template: Path, example: str) -> None:
    """Commit a new version of the template.

    One engine module is changed, one added and one deleted; a default value changes; an example is deleted.
    """
    rank, trainer = template / "src/firstlight/run/rank.py", template / TRAINER
    assert "gradient_clip_val: auto" in trainer.read_text()
    write_files(
        template,
        {
            "src/firstlight/run/rank.py": rank.read_text() + "\n\nNEXT = True\n",
            "src/firstlight/run/deleted.py": None,
            "src/firstlight/run/fresh.py": '"""New."""\n',
            TRAINER: trainer.read_text().replace("gradient_clip_val: auto", "gradient_clip_val: 2.0"),
            f"src/{PROJECT.name}/model/{example}.py": None,
            f"configs/model/{example}.yaml": None,
        },
    )
    git(template, "add", "-A")
    run_python(template, "scripts/manifest.py")
    commit(template, "0.2.0")


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_project_passes_checks_and_tests_after_update(tmp_path):
    if "[tool.firstlight.template]" in (ROOT / "pyproject.toml").read_text():
        pytest.skip("tests of the template itself")
    template, project, saved = tmp_path / "template", tmp_path / "project", tmp_path / "saved"
    copy_checkout(template)
    example, dataset = find_default_example(template)
    start_project(template, project, f"{example},{dataset}")
    add_model(project, example)
    source = (project / f"src/zephyr/model/{example}.py").read_text() + "\n\nEDITED = True\n"
    edited = (project / TRAINER).read_text().replace("max_epochs: 4", "max_epochs: 3")
    write_files(project, {f"src/zephyr/model/{example}.py": source, TRAINER: edited})
    commit(project)
    release_next(template, example)

    run_update(project, template, ref="main")

    changed = set(git(project, "diff", "--name-only", "HEAD").splitlines())
    assert changed == {
        *("src/firstlight/run/rank.py", "src/firstlight/run/deleted.py", "src/firstlight/manifest.json"),
        *(TRAINER, "pyproject.toml"),
    }
    assert git(project, "ls-files", "--others", "--exclude-standard") == "src/firstlight/run/fresh.py"
    assert (project / TRAINER).read_text() == edited.replace("gradient_clip_val: auto", "gradient_clip_val: 2.0")
    run_python(project, "-m", "ruff", "check", ".")
    run_python(project, "-m", "ruff", "format", "--check", ".")
    write_files(saved, {"saved.yaml": "{}\n"})
    run_python(project, "-c", COMPOSE, str(saved))
    run_python(
        project,
        "-m",
        "pytest",
        "-n",
        "2",
        "-m",
        "not slow and not exhaustive",
        "tests/zephyr",
        "tests/firstlight/test_layers.py",
    )
