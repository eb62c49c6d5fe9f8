"""Several labels and numbers on two devices: the same metrics as on one, although evaluation shards are padded."""

import os
import subprocess
import sys

import pytest

from support.interruption import load_saved, read_record
from support.options import QUICK_OVERRIDES

# 30 samples to train on and 7 to validate and test on: on two devices, the shards are padded.
SAMPLES = ["data.num_samples=30", "data.num_classes=3", "data.image_size=4", "trainer.max_epochs=3"]


def run_train(directory, name, model, *overrides):
    """Train in a subprocess; return the run directory."""
    common = [override for override in QUICK_OVERRIDES if not override.startswith(("trainer=", "trainer.max_epochs"))]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [sys.executable, "-m", "firstlight.train", *common, *SAMPLES, model, *overrides, f"output_dir={name}"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stdout
    return directory / name


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny_images_multilabel", "tiny_images_regressor"])
def test_two_devices_match_single_device(tmp_path, model):
    single = run_train(tmp_path, "single", f"model={model}", "trainer=cpu", "data.batch_size=8")
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4"]
    distributed = run_train(tmp_path, "distributed", f"model={model}", *ddp)

    first, second = load_saved(single)["state_dict"], load_saved(distributed)["state_dict"]
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 1e-5
    expected, actual = read_record(single)["metrics"], read_record(distributed)["metrics"]
    names = [name for name in expected if name.startswith(("val/", "test/"))]
    assert {name.rpartition("/")[2] for name in names} >= {"loss", "r2"} or "test/average_precision" in names
    for name in names:
        assert actual[name] == pytest.approx(expected[name], rel=1e-4), name
