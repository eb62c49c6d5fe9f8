"""Augmented images on two devices: a run that is stopped and resumed equals an uninterrupted run."""

import os
import subprocess
import sys

import pytest
import torch

from support.interruption import load_saved, read_rows
from support.tiny_training import make_faulty_overrides

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=2", "test=false"]
AUGMENTED = ["data.mixup_alpha=0.4", "data.cutmix_alpha=1", "data.random_erasing=0.5", "data.rand_augment=9"]


def run_train(directory, *overrides, **variables):
    """Train in a subprocess; return the exit code and the output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [sys.executable, "-m", "firstlight.train", *overrides],
        cwd=directory,
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return process.returncode, process.stdout


@pytest.mark.slow
def test_resume_with_augmented_images_on_two_devices(tmp_path):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    overrides = make_faulty_overrides([*DDP, *AUGMENTED, "data.image_size=8", "model.dropout=0.3"])
    code, output = run_train(tmp_path, *overrides, "output_dir=uninterrupted")
    assert code == 0, output
    code, output = run_train(tmp_path, *overrides, "output_dir=stopped", FAULT="rank==1,step==2:SIGTERM")
    assert code == 143, output
    code, output = run_train(tmp_path, "resume=stopped")
    assert code == 0, output

    first, second = (load_saved(tmp_path / name)["state_dict"] for name in ("uninterrupted", "stopped"))
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert read_rows(tmp_path / "stopped") == read_rows(tmp_path / "uninterrupted")
