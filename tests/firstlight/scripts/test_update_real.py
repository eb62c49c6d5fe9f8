"""`make update` of this checkout itself: a project made from it passes its checks and tests after an update."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import PROJECT, ROOT
from support.template_update import commit, git, run_update, write

TRAINER = "configs/trainer/auto.yaml"
COMPOSE = """
import sys
from pathlib import Path
from hydra import compose, initialize_config_dir

saved = f"hydra.searchpath=[file://{sys.argv[1]}]"
roots = [path.stem for path in Path("configs").glob("*.yaml") if path.stem != "trusted"]
with initialize_config_dir(str(Path("configs").resolve()), version_base="1.3"):
    for root in roots:
        compose(root, [saved])
    compose("train", ["model=own"])
"""


def run(folder: Path, *command: str) -> str:
    """Run Python in a project, whose own sources it imports."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout


def copy_checkout(folder: Path) -> str:
    """Copy the tracked files, add an engine file that a later version drops, and return the commit."""
    for path in git(ROOT, "ls-files").splitlines():
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    git(folder, "init", "-q", "-b", "main", ".")
    write(folder, {"src/firstlight/run/dropped.py": '"""Dropped later."""\n'})
    git(folder, "add", "-A")
    run(folder, "scripts/manifest.py")
    return commit(folder, "0.1.0")


def default_example(folder: Path) -> tuple[str, str]:
    """Return the default model and its dataset."""
    root = (folder / "configs/train.yaml").read_text()
    model = re.search(r"- model: (\w+)", root)[1]
    text = (folder / f"configs/model/{model}.yaml").read_text()
    return model, (re.search(r"override /data: (\w+)", text) or re.search(r"- data: (\w+)", root))[1]


def start_project(template: Path, folder: Path, keep: str) -> None:
    """Make a project named zephyr, with a history of its own."""
    git(template.parent, "clone", "-q", str(template), str(folder))
    run(folder, "scripts/init.py", "name=zephyr", f"keep={keep}", "holder=A")
    shutil.rmtree(folder / ".git")
    git(folder, "init", "-q", ".")
    commit(folder, "Start")


def add_model(folder: Path, example: str) -> None:
    """Copy a model under the name `own`, and give it a config."""
    config = (folder / f"configs/model/{example}.yaml").read_text()
    name = re.search(rf"zephyr\.model\.{example}\.(\w+)", config)[1]
    source = (folder / f"src/zephyr/model/{example}.py").read_text()
    write(folder, {"src/zephyr/model/own.py": re.sub(rf"\b{name}\b", "Own", source)})
    write(folder, {"configs/model/own.yaml": config.replace(f"{example}.{name}", "own.Own")})


def release_next(template: Path, example: str) -> None:
    """Change the template: an engine module, a new and a dropped one, a default, a dropped example."""
    rank, trainer = template / "src/firstlight/run/rank.py", template / TRAINER
    assert "gradient_clip_val: 1.0" in trainer.read_text()
    write(
        template,
        {
            "src/firstlight/run/rank.py": rank.read_text() + "\n\nNEXT = True\n",
            "src/firstlight/run/dropped.py": None,
            "src/firstlight/run/fresh.py": '"""New."""\n',
            TRAINER: trainer.read_text().replace("gradient_clip_val: 1.0", "gradient_clip_val: 2.0"),
            f"src/{PROJECT.name}/model/{example}.py": None,
            f"configs/model/{example}.yaml": None,
        },
    )
    git(template, "add", "-A")
    run(template, "scripts/manifest.py")
    commit(template, "0.2.0")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_project_made_from_this_checkout_passes_its_tests_after_an_update(tmp_path):
    if "[tool.firstlight.template]" in (ROOT / "pyproject.toml").read_text():
        pytest.skip("tests of the template itself")
    template, project, saved = tmp_path / "template", tmp_path / "project", tmp_path / "saved"
    copy_checkout(template)
    example, dataset = default_example(template)
    start_project(template, project, f"{example},{dataset}")
    add_model(project, example)
    source = (project / f"src/zephyr/model/{example}.py").read_text() + "\n\nEDITED = True\n"
    edited = (project / TRAINER).read_text().replace("max_epochs: 4", "max_epochs: 3")
    write(project, {f"src/zephyr/model/{example}.py": source, TRAINER: edited})
    commit(project)
    release_next(template, example)

    run_update(project, template, ref="main")

    changed = set(git(project, "diff", "--name-only", "HEAD").splitlines())
    assert changed == {
        *("src/firstlight/run/rank.py", "src/firstlight/run/dropped.py", "src/firstlight/manifest.json"),
        *(TRAINER, "pyproject.toml"),
    }
    assert git(project, "ls-files", "--others", "--exclude-standard") == "src/firstlight/run/fresh.py"
    assert (project / TRAINER).read_text() == edited.replace("gradient_clip_val: 1.0", "gradient_clip_val: 2.0")
    run(project, "-m", "ruff", "check", ".")
    run(project, "-m", "ruff", "format", "--check", ".")
    write(saved, {"saved.yaml": "{}\n"})
    run(project, "-c", COMPOSE, str(saved))
    run(project, "-m", "pytest", "-n", "2", "-m", "not slow", "tests/zephyr", "tests/firstlight/test_layers.py")
