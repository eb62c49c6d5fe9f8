"""A project created by `make init` trains and passes its tests and checks."""

import os
import subprocess
import sys

import pytest

from support.checkout import IS_TEMPLATE, PROJECT
from support.checkout_copy import commit, copy_checkout, git, run_make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not IS_TEMPLATE, reason="this checkout is a project"),
]
ENGINE = ["src/firstlight", "tests/firstlight", "scripts", "docs"]
SMOKE = ["experiment=smoke", "logger=none"]


# A training run in a Python process in which transformers does not seem to be installed.
WITHOUT_TEXT = """
import sys
from importlib import metadata
real = metadata.distribution
def distribution(name):
    if name == "transformers":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.distribution = distribution
sys.modules["transformers"] = None
from firstlight import train
from firstlight.config.compose import compose_config
train.main(compose_config("train", ["experiment=smoke", "logger=none", "output_dir=run"]))
"""


def find_run_argument(output: str) -> str:
    """Return the first run= argument in the output of a training run."""
    return next(word for word in output.split() if word.startswith("run=logs/"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a project with one of the examples, a model and a dataset of its own."""
    copy = copy_checkout(tmp_path_factory.mktemp("project"))
    run_make(copy, "init", "name=zephyr", "keep=bert,bbc_news")
    git(copy, "add", "-A")
    assert git(copy, "diff", "--cached", "--stat", "--", *ENGINE) == ""
    assert subprocess.run(["git", "grep", "-i", PROJECT.name], cwd=copy, capture_output=True, text=True).stdout == ""
    commit(copy)
    run_make(copy, "new", "model=my_net", "kind=classifier", "modality=images")
    run_make(copy, "new", "data=my_set")
    return copy


def run_tests(project, *options: str) -> None:
    """Run the project's own quick tests."""
    command = ["-m", "pytest", "-n", "2", "-m", "not slow and not exhaustive", "tests/zephyr", *options]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run([sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


def test_project_supports_all_commands(project):
    run = find_run_argument(run_make(project, "train", *SMOKE))
    assert "_bert_bbc_news" in run
    run_make(project, "train", "model=my_net", *SMOKE)
    run_make(project, "train", "data=my_set", *SMOKE)
    run_make(project, "sweep", "model=my_net", "seed=1,2", *SMOKE)
    run_make(project, "evaluate", run)
    run_make(project, "export", run)
    run_make(project, "check")


def test_tests_of_new_model_and_dataset_pass(project):
    run_tests(project, "-k", "my_net or my_set")


@pytest.mark.exhaustive
def test_all_tests_of_project_pass(project):
    run_tests(project)


@pytest.mark.parametrize("keep", ["resnet50,digits", "none"])
def test_project_without_text_does_not_import_transformers(tmp_path, keep):
    copy = copy_checkout(tmp_path)
    run_make(copy, "init", "name=zephyr", f"keep={keep}")
    if keep == "none":
        run_make(copy, "new", "model=my_net")
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "FIRSTLIGHT_CONFIG_PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TEXT], cwd=copy, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-3000:]
