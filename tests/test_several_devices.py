"""Training on several devices: the same result as on one, one run, and one end for all its processes."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import torch
from conftest import a_model, tiny
from small import WORDS

from firstlight import checkpoint_io, compose, run
from firstlight.check import check
from firstlight.data.module import IGNORED, Share
from firstlight.data.order import LengthGroups, Order, Shuffled
from firstlight.model.scores import Scores
from firstlight.sweep_plan import divided

SCRIPT = Path(__file__).parent / "several_training.py"
PAGE = (Path(__file__).parents[1] / "docs" / "several-devices.md").read_text()
# 30 samples to train on and 7 to validate and test with: nothing that 2 or 4 could divide evenly.
SAMPLES = ["data.num_samples=30", "data.num_classes=2", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"]
TRAINING = [*(word for word in WORDS if not word.startswith(("trainer.max", "data.batch"))), *SAMPLES]


def words(devices, strategy="ddp", batch=8):
    several = [f"trainer={strategy}", "trainer.accelerator=cpu", f"trainer.devices={devices}"]
    own = [word for word in TRAINING if word != "trainer=cpu"]
    return [*own, *(several if devices > 1 else ["trainer=cpu"]), f"data.batch_size={batch // devices}"]


def typed(folder, arguments, launcher=(sys.executable,), **environment):
    """Run a training in a folder; return its exit code and what it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PL_", "SLURM"))}
    process = subprocess.run(
        [*launcher, str(SCRIPT), *arguments],
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
    return checkpoint_io.load(folder / "checkpoints" / "last.ckpt")["state_dict"]


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
    code, told = typed(folder, [*words(2), "output_dir=run"], DROPOUT="0.3")
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
def test_torchrun_trains_the_same_run(pair, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    code, told = typed(tmp_path, words(2), launcher, DROPOUT="0.3", OMP_NUM_THREADS="1")

    assert code == 0, told
    (folder,) = (tmp_path / "logs" / "train").iterdir()
    assert furthest(folder, pair) == 0
    assert curves(folder) == curves(pair)
    assert told.count("epoch 3/3") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "launcher", "reason"),
    [
        ("1:5:SIGKILL", (), "rank 1 was ended by SIGKILL"),
        ("1:5:error", (), "rank 1: RuntimeError: the model broke"),
        ("0:5:SIGKILL", (), "rank 0 ended without a word: was it killed?"),
        ("1:5:error", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"), "rank 1: RuntimeError"),
    ],
)
def test_a_rank_that_dies_ends_the_run_with_its_own_error(pair, tmp_path, fault, launcher, reason):
    code, told = typed(tmp_path, [*words(2), "output_dir=run"], [sys.executable, *launcher], FAULT=fault, DROPOUT="0.3")
    deadline = time.monotonic() + 20
    # Killed, the first one cannot wait for the others.
    while record(tmp_path / "run")["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.2)

    assert code != 0
    assert record(tmp_path / "run")["status"] == "failed"
    ended = datetime.fromisoformat(record(tmp_path / "run")["ended"]).timestamp()
    assert ended - (tmp_path / "fault").stat().st_mtime < 60
    assert record(tmp_path / "run")["reason"].startswith(reason), told
    if fault.startswith("1:5:SIGKILL"):
        code, told = typed(tmp_path, ["resume=run"], DROPOUT="0.3")
        assert code == 0, told
        assert furthest(tmp_path / "run", pair) == 0
        assert curves(tmp_path / "run") == curves(pair)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "strategy"), [(1, "ddp"), (1, "fsdp")])
def test_a_signal_to_any_rank_saves_and_stops_all_and_the_run_goes_on_exactly(pair, tmp_path, rank, strategy):
    start = [*words(2, strategy), "output_dir=run"]
    code, told = typed(tmp_path, start, FAULT=f"{rank}:5:SIGTERM", DROPOUT="0.3")
    assert code == 143, told
    assert record(tmp_path / "run")["status"] == "interrupted"

    code, told = typed(tmp_path, ["resume=run"], DROPOUT="0.3")
    assert code == 0, told
    assert furthest(tmp_path / "run", pair) < (1e-7 if strategy == "fsdp" else 1e-12)
    if strategy == "ddp":
        assert curves(tmp_path / "run") == curves(pair)


@pytest.mark.slow
def test_a_sweep_over_several_devices_has_a_command_for_each_job(tmp_path):
    few = [word for word in tiny(a_model()) if word not in ("trainer=cpu", "logger=none")]
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


def settings(*words):
    return compose.composed("train", [*words, "output_dir=run"])


def shares_of(order_of, devices):
    """Return what each device reads in an epoch."""
    return [list(order_of(rank)) for rank in range(devices)]


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("first_batch", [0, 2])
def test_devices_divide_each_step_of_one_device(devices, first_batch):
    lengths = torch.arange(50) % 7
    for kind, what in ((Shuffled, 50), (LengthGroups, lengths)):

        def order(rank, kind=kind, what=what) -> Order:
            made = kind(what, 12 // devices, seed=3, rank=rank, devices=devices)
            made.start(1, first_batch)
            return made

        whole = kind(what, 12, seed=3)
        whole.start(1, first_batch)
        expected = list(whole)
        shares = shares_of(order, devices)
        steps = len(expected) // 12

        assert all(len(share) == len(shares[0]) for share in shares)
        size = 12 // devices
        for step in range(steps):
            together = [each for share in shares for each in share[step * size : (step + 1) * size]]
            assert together == expected[step * 12 : (step + 1) * 12]
        read = [each for share in shares for each in share]
        assert len(set(read)) == len(read) > len(expected) - devices
        if not first_batch:
            assert len(order(0)) == len(shares[0])


@pytest.mark.parametrize(("samples", "devices"), [(7, 2), (8, 4), (9, 4), (3, 4)])
def test_an_evaluation_counts_each_sample_once(samples, devices):
    labels = torch.arange(samples) % 2
    logits = torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))

    class Few(torch.utils.data.Dataset):
        def __len__(self):
            return samples

        def __getitem__(self, index):
            return {"inputs": logits[index], "labels": labels[index], "ids": torch.tensor(index)}

    alone, together = Scores(2), Scores(2)
    alone.update(logits, labels)
    shares = [Share(Few(), rank, devices) for rank in range(devices)]
    assert len({len(share) for share in shares}) == 1
    ids = []
    for share in shares:
        batch = share.__getitems__(range(len(share)))
        assert ((batch["labels"] == IGNORED) == (batch["ids"] == -1)).all()
        together.update(batch["inputs"], batch["labels"])
        ids += batch["ids"].tolist()

    assert sorted(each for each in ids if each >= 0) == list(range(samples))
    assert (together.confusion == alone.confusion).all()
    assert torch.allclose(together.compute()["loss"], alone.compute()["loss"])


@pytest.mark.parametrize(
    "typed_words", [["trainer=mps", "trainer.devices=2"], ["trainer=ddp", "trainer.accelerator=mps"],
                    ["trainer=fsdp", "trainer.accelerator=mps"], ["trainer=mps", "trainer.num_nodes=2"]]
)  # fmt: skip
def test_a_mac_has_one_gpu(typed_words):
    with pytest.raises(ValueError, match="A Mac has one GPU, but .*: type trainer=mps alone"):
        check(settings(*typed_words))


@pytest.mark.parametrize(
    ("typed_words", "told"),
    [
        (["trainer=cpu", "trainer.devices=2"], "Several devices need a strategy, but trainer.devices=2"),
        (["trainer=cpu", "trainer.devices=0"], "A training needs a device, but trainer.devices=0"),
        (["trainer=cpu", "trainer.devices=many"], "trainer.devices is a number, a list of numbers or auto"),
    ],
)
def test_devices_that_cannot_train_are_refused(typed_words, told):
    with pytest.raises(ValueError, match=told):
        run.settings_here(settings(*typed_words))


@pytest.mark.parametrize("line", re.findall(r"^(?:make|torchrun|srun) .*", PAGE, flags=re.MULTILINE))
def test_a_command_of_the_page_composes(line):
    typed_words = [word for word in re.split(r"\s{2,}", line)[0].split() if re.match(r"[\w.]+=", word)]
    own, rest = divided(typed_words)

    check(settings(*rest))
    assert compose.composed("sweep", own).launcher.keys() if own else rest


@pytest.mark.parametrize(("rule", "factor"), [("null", 1), ("linear", 4), ("sqrt", 2)])
def test_the_learning_rate_is_scaled_on_request(rule, factor):
    cfg = settings("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=4", f"trainer.scale_lr={rule}")

    assert run.scaled_lr(run.settings_here(cfg)) == pytest.approx(cfg.optimizer.lr * factor)


def test_what_was_trained_on_several_devices_is_evaluated_on_one():
    cfg = settings("trainer=ddp", "trainer.devices=4", "trainer.accelerator=cpu", "command=evaluate")

    assert run.settings_here(cfg)["trainer"]["devices"] == 1


def test_processes_that_were_started_must_be_as_many_as_the_devices(monkeypatch, composed):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="4 were started by Slurm or torchrun for 1 of"):
        run.build(composed(*WORDS, "data.image_size=32"))
