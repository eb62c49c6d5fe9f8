"""Distributed training: same result as on one device, a single run directory, and all processes stop together."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime

import pytest

from support.interruption import load_saved, read_record, read_rows
from support.options import get_tiny_model, make_tiny_overrides
from support.tiny_training import OVERRIDES

# 30 samples to train on and 7 to validate and test on: neither is divisible by 4, and 7 is not divisible by 2.
SAMPLES = ["data.num_samples=30", "data.num_classes=2", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"]

RUN_OVERRIDES = [
    override for override in OVERRIDES if not override.startswith(("trainer.max", "data.batch", "model="))
] + SAMPLES
# Without BatchNorm and dropout, the steps do not depend on how the samples are sharded.
RUN_OVERRIDES += [
    "model=tiny_faulty",
    "model.width=8",
    "model.batch_norm=false",
    "optimizer=adamw",
    "optimizer.lr=0.01",
]
DROPOUT = "model.dropout=0.3"


def make_overrides(devices, strategy="ddp", global_batch_size=8):
    """Return the overrides of a run on one or several devices."""
    distributed = [f"trainer={strategy}", "trainer.accelerator=cpu", f"trainer.devices={devices}"]
    common = [override for override in RUN_OVERRIDES if override != "trainer=cpu"]
    trainer = distributed if devices > 1 else ["trainer=cpu"]
    return [*common, *trainer, f"data.batch_size={global_batch_size // devices}"]


def run_command(directory, overrides, launcher=(sys.executable,), **variables):
    """Run `train`, or `evaluate` if the first override is run=; return the exit code and the output."""
    command = "evaluate" if overrides[0].startswith("run=") else "train"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [*launcher, "-m", f"firstlight.{command}", *overrides],
        cwd=directory,
        env={**inherited, "WANDB_MODE": "offline", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return process.returncode, process.stdout


def load_last_weights(run_dir):
    return load_saved(run_dir)["state_dict"]


def max_weight_difference(run_dir, other):
    """Return the largest difference between the last weights of two runs."""
    first, second = load_last_weights(run_dir), load_last_weights(other)
    return max((first[name] - second[name]).abs().max().item() for name in first)


def read_prediction_ids(run_dir):
    return sorted(row["id"] for row in json.loads((run_dir / "predictions.json").read_text()))


@pytest.fixture(scope="module")
def single_device_run(tmp_path_factory):
    """Return the directory of a run on one device."""
    directory = tmp_path_factory.mktemp("single")
    code, output = run_command(directory, [*make_overrides(1), "output_dir=run"])
    assert code == 0, output
    return directory / "run"


@pytest.fixture(scope="module")
def uninterrupted_run(tmp_path_factory):
    """Return the directory of an uninterrupted run on two devices, with dropout."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    code, output = run_command(directory, [*make_overrides(2), DROPOUT, "output_dir=run"])
    assert code == 0, output
    return directory / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "strategy"), [(2, "ddp"), pytest.param(4, "ddp", marks=pytest.mark.exhaustive), (2, "fsdp")]
)
def test_several_devices_match_single_device(single_device_run, tmp_path, devices, strategy):
    code, output = run_command(tmp_path, [*make_overrides(devices, strategy), "logger=wandb"])

    assert code == 0, output
    (run_dir,) = (tmp_path / "logs" / "train").iterdir()
    assert max_weight_difference(run_dir, single_device_run) < 1e-6
    single, distributed = read_record(single_device_run), read_record(run_dir)
    assert distributed["devices"] == devices
    # Validation and test count each sample once, whatever the number of devices.
    for name in ("val/accuracy", "val/f1", "test/accuracy", "test/f1"):
        assert distributed["metrics"][name] == single["metrics"][name]
    for name in ("train/loss", "val/loss", "test/loss"):
        assert distributed["metrics"][name] == pytest.approx(single["metrics"][name], abs=1e-6)
    counts = json.loads((run_dir / "confusion_matrix.json").read_text())["counts"]
    assert counts == json.loads((single_device_run / "confusion_matrix.json").read_text())["counts"]
    assert read_prediction_ids(run_dir) == read_prediction_ids(single_device_run)

    # One run directory and one W&B run, and each line is printed once.
    assert output.count("\nrun_dir  ") == 1
    assert output.count("epoch 3/3") == 1
    assert (run_dir / "output.log").read_text().count("epoch 3/3") == 1
    assert len(list((run_dir / "wandb").glob("offline-run-*"))) == 1
    assert "Warning" not in output
    assert f"global batch 8 ({8 // devices} per device)" in output
    assert all(path.is_file() for path in (run_dir / "checkpoints").iterdir())


@pytest.mark.slow
def test_resume_from_consolidated_sharded_checkpoint(single_device_run, tmp_path):
    shutil.copytree(single_device_run, tmp_path / "single")
    code, output = run_command(tmp_path, ["resume=single", "trainer.max_epochs=4"])
    assert code == 0, output
    for overrides in (["output_dir=sharded", *make_overrides(2, "fsdp")], ["resume=sharded", "trainer.max_epochs=4"]):
        code, output = run_command(tmp_path, overrides)
        assert code == 0, output

    assert max_weight_difference(tmp_path / "sharded", tmp_path / "single") < 1e-6


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_validation_uses_batch_norm_statistics_of_checkpoint(tmp_path, strategy):
    short = ["trainer.max_epochs=1", "test=false"]
    code, output = run_command(
        tmp_path, [*make_overrides(2, strategy), *short, "model.batch_norm=true", "output_dir=run"]
    )
    assert code == 0, output
    code, output = run_command(tmp_path, ["run=run", "ckpt=last", "split=val"])
    assert code == 0, output

    # Each device has seen other samples, so the running statistics of the devices differ.
    loss = float(re.search(r"val/loss +([\d.]+)", output).group(1))
    assert loss == pytest.approx(read_record(tmp_path / "run")["metrics"]["val/loss"], abs=1e-6)


@pytest.mark.slow
def test_torchrun_matches_lightning_launcher(uninterrupted_run, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    code, output = run_command(tmp_path, [*make_overrides(2), DROPOUT], launcher, OMP_NUM_THREADS="1")

    assert code == 0, output
    (run_dir,) = (tmp_path / "logs" / "train").iterdir()
    assert max_weight_difference(run_dir, uninterrupted_run) == 0
    assert read_rows(run_dir) == read_rows(uninterrupted_run)
    assert output.count("epoch 3/3") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "launcher", "reason"),
    [
        ("rank==1,step==5:SIGKILL", (), "Rank 1 was terminated by SIGKILL"),
        ("rank==1,step==5:the model broke", (), "Rank 1 failed: RuntimeError: the model broke"),
        ("rank==0,step==5:SIGKILL", (), "Rank 0 exited without reporting an error; it was probably killed."),
        (
            "rank==1,step==5:the model broke",
            ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            "Rank 1 failed: RuntimeError",
        ),
    ],
)
def test_failed_rank_stops_run_with_its_own_error(uninterrupted_run, tmp_path, fault, launcher, reason):
    overrides = [*make_overrides(2), DROPOUT, "output_dir=run"]
    code, output = run_command(tmp_path, overrides, [sys.executable, *launcher], FAULT=fault, FAULT_FILE="fault")
    deadline = time.monotonic() + 20
    # If rank 0 is killed, it cannot wait for the other ranks.
    while read_record(tmp_path / "run")["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)

    assert code != 0
    assert read_record(tmp_path / "run")["status"] == "failed"
    ended = datetime.fromisoformat(read_record(tmp_path / "run")["ended"]).timestamp()
    assert ended - (tmp_path / "fault").stat().st_mtime < 60
    assert read_record(tmp_path / "run")["reason"].startswith(reason), output
    if fault == "rank==1,step==5:SIGKILL":
        code, output = run_command(tmp_path, ["resume=run"])
        assert code == 0, output
        assert max_weight_difference(tmp_path / "run", uninterrupted_run) == 0
        assert read_rows(tmp_path / "run") == read_rows(uninterrupted_run)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "strategy"), [(1, "ddp"), (1, "fsdp")])
def test_signal_to_any_rank_saves_and_stops_all_ranks(uninterrupted_run, tmp_path, rank, strategy):
    overrides = [*make_overrides(2, strategy), DROPOUT, "output_dir=run"]
    code, output = run_command(tmp_path, overrides, FAULT=f"rank=={rank},step==5:SIGTERM")
    assert code == 143, output
    assert read_record(tmp_path / "run")["status"] == "interrupted"

    code, output = run_command(tmp_path, ["resume=run"])
    assert code == 0, output
    assert max_weight_difference(tmp_path / "run", uninterrupted_run) < (1e-7 if strategy == "fsdp" else 1e-12)
    if strategy == "ddp":
        assert read_rows(tmp_path / "run") == read_rows(uninterrupted_run)


@pytest.mark.slow
def test_distributed_sweep_runs_one_command_per_job(tmp_path):
    tiny = [
        override for override in make_tiny_overrides(get_tiny_model()) if override not in ("trainer=cpu", "logger=none")
    ]
    distributed = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "data.num_samples=8",
        "data.batch_size=2",
    ]
    process = subprocess.run(
        [sys.executable, "-m", "firstlight.sweep", *tiny, *distributed, "logger=none", "seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    (sweep_dir,) = (tmp_path / "logs" / "sweep").iterdir()
    with (sweep_dir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["status"]) for row in rows] == [("1", "finished")]
    assert "output_dir" not in rows[0]
    assert [path.name for path in sorted(sweep_dir.glob("*/"))] == ["0_"]
    assert not (tmp_path / "logs" / "train").exists()
