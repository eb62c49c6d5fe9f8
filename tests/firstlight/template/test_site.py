"""`make docs` builds the documentation, and the models and datasets in the documentation work."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from support.checkout import PROJECT, ROOT
from support.doc_commands import EXAMPLE_FILES, template_only


@pytest.mark.slow
def test_docs_build_without_warnings_and_external_resources(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-d", str(tmp_path / "kept")]
    done = subprocess.run(
        [sys.executable, *command, str(ROOT / "docs"), str(tmp_path / "site")], capture_output=True, text=True
    )
    pages = [file.read_text() for file in (tmp_path / "site").rglob("*.html")]

    assert done.returncode == 0, done.stderr
    assert len(pages) > 12
    assert not [tag for page in pages for tag in re.findall(r"<(?:script|link|img)[^>]+\"https?:[^>]+>", page)]


@pytest.fixture(scope="module")
def run_module(tmp_path_factory):
    """Return a function that runs a module in a copy of the checkout with the files that the docs show."""
    checkout = tmp_path_factory.mktemp("checkout")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in files:
        (checkout / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, checkout / file)
    for path, text in EXAMPLE_FILES.items():
        (checkout / path).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@template_only
@pytest.mark.slow
def test_documented_model_and_dataset_work(run_module):
    output = run_module("firstlight.train", "model=linear", "logger=none")
    assert float(re.search(r"test/accuracy +([\d.]+)", output).group(1)) > 0.8

    output = run_module("firstlight.train", "model=linear", "data=stripes", "logger=none")
    assert float(re.search(r"test/accuracy +([\d.]+)", output).group(1)) > 0.8

    output = run_module("firstlight.train", "model=autoencoder", "logger=none")
    assert float(re.search(r"epoch 5/5 .*val_loss ([\d.]+)", output).group(1)) < 0.1

    assert "max_epochs: 30" in run_module("firstlight.train", "experiment=mine", "--cfg", "job")

    output = run_module(
        "pytest",
        f"tests/{PROJECT.name}/test_every_model.py",
        f"tests/{PROJECT.name}/test_every_command.py",
        f"tests/{PROJECT.name}/test_every_option.py",
        f"tests/{PROJECT.name}/test_every_other_model.py",
        "-k",
        "linear or autoencoder",
        "-p",
        "no:cacheprovider",
    )
    assert int(re.search(r"(\d+) passed", output).group(1)) >= 14


@template_only
@pytest.mark.slow
def test_documented_projects_work(run_module):
    output = run_module("firstlight.train", "model=mlp", "logger=none")
    assert float(re.search(r"test/mae +([\d.]+)", output).group(1)) < 50  # 54.7 for the mean of the targets

    output = run_module("firstlight.train", "model=segmenter", "logger=none", "trainer.max_epochs=4")
    assert float(re.search(r"test/iou +([\d.]+)", output).group(1)) > 0.25  # 0.08 for the background everywhere
