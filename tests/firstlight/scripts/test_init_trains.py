"""A project made by `make init` trains, is tested and passes its own checks. Tests of the template itself."""

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


# A training in a Python that seems to have no transformers, neither as a module nor as a distribution.
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
from firstlight.config.compose import composed
train.main(composed("train", ["experiment=smoke", "logger=none", "output_dir=run"]))
"""


def run_of(told: str) -> str:
    """Return the run directory that a training printed."""
    return next(word for word in told.split() if word.startswith("run=logs/"))


def test_a_project_does_all_that_the_template_does(tmp_path):
    copy = copy_checkout(tmp_path)
    run_make(copy, "init", "name=zephyr", "keep=bert,bbc_news")
    git(copy, "add", "-A")
    assert git(copy, "diff", "--cached", "--stat", "--", *ENGINE) == ""
    assert subprocess.run(["git", "grep", "-i", PROJECT.name], cwd=copy, capture_output=True, text=True).stdout == ""
    commit(copy)

    run_make(copy, "new", "model=my_net", "kind=images")
    run_make(copy, "new", "data=my_set")
    run = run_of(run_make(copy, "train", *SMOKE))
    assert "_bert_bbc_news" in run
    run_make(copy, "train", "model=my_net", *SMOKE)
    run_make(copy, "train", "data=my_set", *SMOKE)
    run_make(copy, "sweep", "model=my_net", "seed=1,2", *SMOKE)
    run_make(copy, "evaluate", run)
    run_make(copy, "export", run)
    run_make(copy, "check")

    pytest_words = ["-m", "pytest", "-n", "2", "-m", "not slow", "tests/zephyr"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run([sys.executable, *pytest_words], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.parametrize("keep", ["resnet50,digits", "none"])
def test_a_project_without_text_imports_no_transformers(tmp_path, keep):
    copy = copy_checkout(tmp_path)
    run_make(copy, "init", "name=zephyr", f"keep={keep}")
    if keep == "none":
        run_make(copy, "new", "model=my_net")
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "FIRSTLIGHT_CONFIG_PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TEXT], cwd=copy, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-3000:]
