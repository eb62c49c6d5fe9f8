"""Modules of published packages train from YAML, each in an environment of its own. Data is synthetic."""

import os
import subprocess
from pathlib import Path

import pytest

from firstlight.run.files import read_json_or_empty

ROOT = Path(__file__).parents[3]
PUBLISHED = Path(__file__).parent
# Package -> option of its model, split to evaluate, what uv installs.
PACKAGES = {
    "chemprop": ("mpnn", "test", ["chemprop==2.3.1"]),
    "torchgeo": ("land_cover", "test", ["torchgeo==0.8.1"]),
    "anomalib": ("ganomaly", "test", ["anomalib==2.7.0"]),
    "torch-uncertainty": ("calibrated_mlp", "test", ["torch-uncertainty==0.13.0", "timm"]),
    "rl4co": ("attention_tsp", "test", ["rl4co==0.7.0"]),
    "pytorch-forecasting": ("tft", "val", ["pytorch-forecasting==1.8.0"]),
}
pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(1800)]


@pytest.fixture(params=PACKAGES)
def package(request):
    return request.param


@pytest.fixture
def python(package, tmp_path):
    """Return the Python of an environment with a package and this project."""
    if ready := os.environ.get("PUBLISHED_ENVIRONMENTS"):
        return Path(ready) / package / "bin" / "python"
    environment = tmp_path / "environment"
    subprocess.run(["uv", "venv", "--python", "3.11", environment], check=True)
    specs = PACKAGES[package][2]
    subprocess.run(["uv", "pip", "install", "--python", environment, "--editable", ROOT, *specs], check=True)
    return environment / "bin" / "python"


@pytest.fixture
def run(package, python, tmp_path):
    """Return a function that runs Python with the configs of a package, in the directory of its data."""
    folder = PUBLISHED / package.replace("-", "_")
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(PUBLISHED)]),
        "FIRSTLIGHT_CONFIG_PATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }

    def run_python(*arguments):
        process = subprocess.run(
            [python, *arguments], cwd=tmp_path, capture_output=True, text=True, env=os.environ | variables
        )
        assert process.returncode == 0, process.stdout + process.stderr
        assert "Traceback" not in process.stderr
        return process.stdout

    run_python(PUBLISHED / "synthetic.py", folder.name, ".")
    return run_python


def test_module_trains_evaluates_and_resumes(package, run, tmp_path):
    model, split, _ = PACKAGES[package]
    settings = ["trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=4", "logger=none"]
    trained = run("-m", "firstlight.train", f"model={model}", *settings, "output_dir=run")
    assert "epoch 2/2" in trained
    assert read_json_or_empty(tmp_path / "run" / "run.json")["status"] == "finished"

    evaluated = run("-m", "firstlight.evaluate", "run=run", f"split={split}")
    assert "checkpoint  run/checkpoints/" in evaluated

    resumed = run("-m", "firstlight.train", "resume=run", "trainer.max_epochs=3")
    assert "epoch 3/3" in resumed
    assert "epoch 1/3" not in resumed
    assert "lr_schedulers" not in trained  # would be left out of the checkpoint
    assert read_json_or_empty(tmp_path / "run" / "run.json")["status"] == "finished"
