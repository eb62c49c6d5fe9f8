"""StochasticWeightAveraging on two ranks: the average of one device, also after a resume, and in `evaluate`."""

import os
import re
import subprocess
import sys

import pytest
import torch

from support.interruption import read_record
from support.resume_rows import add_callback
from support.tiny_training import OVERRIDES

TRAINING = [
    *(override for override in OVERRIDES if not override.startswith(("trainer", "data.batch", "model="))),
    *["model=tiny_faulty", "model.width=8", "model.batch_norm=false", "optimizer=adamw", "optimizer.lr=0.01"],
    *["data.num_samples=32", "data.num_classes=2", "trainer.max_epochs=4", "trainer.precision=32-true"],
    *add_callback("StochasticWeightAveraging", "swa_lrs: 0.01, swa_epoch_start: 2"),
]
TWO_RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4"]


def run_command(directory, command, *overrides, **variables):
    """Run a command; return the exit code and the output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [sys.executable, "-m", f"firstlight.{command}", *overrides],
        cwd=directory,
        env={**inherited, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return process.returncode, process.stdout


def load_average(run_dir):
    """Return the averaged weights, which `evaluate` uses, as one vector."""
    saved = torch.load(run_dir / "checkpoints" / "averaged.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for value in saved.values()])


@pytest.mark.exhaustive
def test_average_on_two_ranks_resumes_and_evaluates_like_one_device(tmp_path):
    code, output = run_command(tmp_path, "train", *TRAINING, "trainer=cpu", "data.batch_size=8", "output_dir=single")
    assert code == 0, output
    code, output = run_command(tmp_path, "train", *TRAINING, *TWO_RANKS, "output_dir=ddp")
    assert code == 0, output
    # 4 steps per epoch: the stop lies in the second epoch of the averaging.
    code, output = run_command(
        tmp_path, "train", *TRAINING, *TWO_RANKS, "output_dir=stopped", FAULT="rank==1,step==13:SIGTERM"
    )
    assert code == 143, output
    code, output = run_command(tmp_path, "train", "resume=stopped")
    assert code == 0, output
    code, output = run_command(tmp_path, "evaluate", "run=stopped")
    assert code == 0, output

    average = load_average(tmp_path / "ddp")
    torch.testing.assert_close(average, load_average(tmp_path / "single"), rtol=0, atol=1e-6)
    assert torch.equal(load_average(tmp_path / "stopped"), average)
    tested = read_record(tmp_path / "stopped")["metrics"]["test/loss"]
    assert tested == read_record(tmp_path / "ddp")["metrics"]["test/loss"]
    assert float(re.search(r"test/loss +([\d.]+)", output).group(1)) == pytest.approx(tested, abs=1e-4)
