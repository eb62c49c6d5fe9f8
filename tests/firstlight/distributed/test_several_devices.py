"""Training on several devices: the same result as on one, one run, and one end for all its processes."""

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

from firstlight.checkpoint import io as checkpoint_io
from support.options import get_tiny_model, make_tiny_overrides
from support.tiny_training import OVERRIDES

# 30 samples to train on and 7 to validate and test with: nothing that 2 or 4 could divide evenly.
SAMPLES = ["data.num_samples=30", "data.num_classes=2", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"]

TRAINING = [word for word in OVERRIDES if not word.startswith(("trainer.max", "data.batch", "model="))] + SAMPLES
# Its steps do not depend on how their samples are divided; dropout and batch norm make them.
TRAINING += ["model=tiny_faulty", "model.width=8", "model.batch_norm=false", "optimizer=adamw", "optimizer.lr=0.01"]
DROPOUT = "model.dropout=0.3"


def words(devices, strategy="ddp", batch=8):
    several = [f"trainer={strategy}", "trainer.accelerator=cpu", f"trainer.devices={devices}"]
    own = [word for word in TRAINING if word != "trainer=cpu"]
    return [*own, *(several if devices > 1 else ["trainer=cpu"]), f"data.batch_size={batch // devices}"]


def typed(folder, arguments, launcher=(sys.executable,), **environment):
    """Run a training in a folder; return its exit code and what it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [*launcher, "-m", f"firstlight.{'evaluate' if arguments[0].startswith('run=') else 'train'}", *arguments],
        cwd=folder,
        env={**inherited, "WANDB_MODE": "offline", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return process.returncode, process.stdout


def record(folder):
    return json.loads((folder / "run.json").read_text())


def weights(folder):
    return checkpoint_io.load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


def furthest(folder, other):
    """Return the largest difference between the last weights of two runs."""
    pair = weights(folder), weights(other)
    return max((pair[0][name] - pair[1][name]).abs().max().item() for name in pair[0])


def curves(folder):
    """Return the rows of metrics.csv, but for the speed, which is never the same."""
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if v and not k.startswith("speed/")} for row in csv.DictReader(file)]
    return [row for row in rows if set(row) - {"epoch", "step"}]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A training on one device."""
    folder = tmp_path_factory.mktemp("alone")
    code, told = typed(folder, [*words(1), "output_dir=run"])
    assert code == 0, told
    return folder / "run"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A training on two devices with dropout that nothing disturbs."""
    folder = tmp_path_factory.mktemp("pair")
    code, told = typed(folder, [*words(2), DROPOUT, "output_dir=run"])
    assert code == 0, told
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "strategy"), [(2, "ddp"), (4, "ddp"), (2, "fsdp")])
def test_several_devices_train_as_one_would(alone, tmp_path, devices, strategy):
    code, told = typed(tmp_path, [*words(devices, strategy), "logger=wandb"])

    assert code == 0, told
    (folder,) = (tmp_path / "logs" / "train").iterdir()
    assert furthest(folder, alone) < 1e-6
    one, several = record(alone), record(folder)
    assert several["devices"] == devices
    # Validation and test count each sample once, whatever the number of devices.
    for name in ("val/accuracy", "val/f1", "test/accuracy", "test/f1"):
        assert several["metrics"][name] == one["metrics"][name]
    for name in ("train/loss", "val/loss", "test/loss"):
        assert several["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-6)
    counts = json.loads((folder / "confusion_matrix.json").read_text())["counts"]
    assert counts == json.loads((alone / "confusion_matrix.json").read_text())["counts"]
    ids = [[each["id"] for each in json.loads((path / "predictions.json").read_text())] for path in (folder, alone)]
    assert sorted(ids[0]) == sorted(ids[1])

    # One run, each line once, one W&B run.
    assert told.count("\nrun  ") == 1
    assert told.count("epoch 3/3") == 1
    assert (folder / "output.log").read_text().count("epoch 3/3") == 1
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    assert "Warning" not in told
    assert f"8 samples, {8 // devices} on each device" in told
    assert all(path.is_file() for path in (folder / "checkpoints").iterdir())


@pytest.mark.slow
def test_what_was_trained_in_parts_goes_on_from_its_file(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "alone")
    code, told = typed(tmp_path, ["resume=alone", "trainer.max_epochs=4"])
    assert code == 0, told
    for epochs in (["output_dir=parts", *words(2, "fsdp")], ["resume=parts", "trainer.max_epochs=4"]):
        code, told = typed(tmp_path, epochs)
        assert code == 0, told

    assert furthest(tmp_path / "parts", tmp_path / "alone") < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_what_is_measured_is_what_the_checkpoint_holds_statistics_included(tmp_path, strategy):
    few = ["trainer.max_epochs=1", "test=false"]
    code, told = typed(tmp_path, [*words(2, strategy), *few, "model.batch_norm=true", "output_dir=run"])
    assert code == 0, told
    code, told = typed(tmp_path, ["run=run", "ckpt=last", "split=val"])
    assert code == 0, told

    # Each device has seen other samples, so that each has other statistics.
    again = float(re.search(r"val/loss +([\d.]+)", told).group(1))
    assert again == pytest.approx(record(tmp_path / "run")["metrics"]["val/loss"], abs=1e-6)


@pytest.mark.slow
def test_torchrun_trains_the_same_run(pair, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    code, told = typed(tmp_path, [*words(2), DROPOUT], launcher, OMP_NUM_THREADS="1")

    assert code == 0, told
    (folder,) = (tmp_path / "logs" / "train").iterdir()
    assert furthest(folder, pair) == 0
    assert curves(folder) == curves(pair)
    assert told.count("epoch 3/3") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "launcher", "reason"),
    [
        ("rank==1,step==5:SIGKILL", (), "rank 1 was ended by SIGKILL"),
        ("rank==1,step==5:the model broke", (), "rank 1: RuntimeError: the model broke"),
        ("rank==0,step==5:SIGKILL", (), "rank 0 ended without a word: was it killed?"),
        (
            "rank==1,step==5:the model broke",
            ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            "rank 1: RuntimeError",
        ),
    ],
)
def test_a_rank_that_dies_ends_the_run_with_its_own_error(pair, tmp_path, fault, launcher, reason):
    start = [*words(2), DROPOUT, "output_dir=run"]
    code, told = typed(tmp_path, start, [sys.executable, *launcher], FAULT=fault, FAULT_FILE="fault")
    deadline = time.monotonic() + 20
    # Killed, the first one cannot wait for the others.
    while record(tmp_path / "run")["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)

    assert code != 0
    assert record(tmp_path / "run")["status"] == "failed"
    ended = datetime.fromisoformat(record(tmp_path / "run")["ended"]).timestamp()
    assert ended - (tmp_path / "fault").stat().st_mtime < 60
    assert record(tmp_path / "run")["reason"].startswith(reason), told
    if fault == "rank==1,step==5:SIGKILL":
        code, told = typed(tmp_path, ["resume=run"])
        assert code == 0, told
        assert furthest(tmp_path / "run", pair) == 0
        assert curves(tmp_path / "run") == curves(pair)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "strategy"), [(1, "ddp"), (1, "fsdp")])
def test_a_signal_to_any_rank_saves_and_stops_all_and_the_run_goes_on_exactly(pair, tmp_path, rank, strategy):
    start = [*words(2, strategy), DROPOUT, "output_dir=run"]
    code, told = typed(tmp_path, start, FAULT=f"rank=={rank},step==5:SIGTERM")
    assert code == 143, told
    assert record(tmp_path / "run")["status"] == "interrupted"

    code, told = typed(tmp_path, ["resume=run"])
    assert code == 0, told
    assert furthest(tmp_path / "run", pair) < (1e-7 if strategy == "fsdp" else 1e-12)
    if strategy == "ddp":
        assert curves(tmp_path / "run") == curves(pair)


@pytest.mark.slow
def test_a_sweep_over_several_devices_has_a_command_for_each_job(tmp_path):
    few = [word for word in make_tiny_overrides(get_tiny_model()) if word not in ("trainer=cpu", "logger=none")]
    several = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.num_samples=8", "data.batch_size=2"]
    process = subprocess.run(
        [sys.executable, "-m", "firstlight.sweep", *few, *several, "logger=none", "seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    (folder,) = (tmp_path / "logs" / "sweep").iterdir()
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["status"]) for row in rows] == [("1", "finished")]
    assert "output_dir" not in rows[0]
    assert [path.name for path in sorted(folder.glob("*/"))] == ["0_"]
    assert not (tmp_path / "logs" / "train").exists()
