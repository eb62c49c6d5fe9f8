"""What goes wrong in a run: its status, its reason in one sentence, and what is kept."""

import errno
import os
import subprocess
from contextlib import suppress

import pytest
import torch

from firstlight import train
from firstlight.callbacks.loss_guard import LossGuard
from firstlight.cli.errors import format_user_error
from firstlight.config.compose import compose_config
from firstlight.logger.metrics_csv import MetricsCSVLogger
from support.interruption import SMALL_OVERRIDES, SignalSender, load_saved, read_record, train_model


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """Return a function that trains with a fault in the sixth step, the second of the second epoch.

    It returns the error and the run's record.
    """

    def train_(fault, *words):
        monkeypatch.setenv("FAULT", f"step==5:{fault}")
        with pytest.raises(BaseException) as caught:
            train.main(
                compose_config(
                    "train", [*SMALL_OVERRIDES, "model=tiny_faulty", f"output_dir={tmp_path / 'run'}", *words]
                )
            )
        return caught.value, read_record(tmp_path / "run")

    return train_


@pytest.fixture
def little_disk(tmp_path):
    """Return a folder on a disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("value", "every"), [("nan", 3), *(pytest.param(*way, marks=pytest.mark.slow) for way in [("nan", 1), ("inf", 1)])]
)
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(faulty, tmp_path, value, every):
    error, told = faulty(value, f"trainer.log_every_n_steps={every}")
    batch = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)

    assert told["status"] == "failed"
    assert f"The loss is {value} in step 6 (epoch 2); its samples, of train, are" in told["reason"] == str(error)
    assert "try a lower optimizer.lr; the last checkpoint is from before" in str(error)
    assert format_user_error(error, "train", []) == str(error)
    assert (len(batch["ids"]), batch["epoch"], batch["step"]) == (4, 1, 6)
    assert torch.equal(batch["batch"]["ids"], torch.tensor(batch["ids"]))
    for name in ("last", "best"):
        assert load_saved(tmp_path / "run", name)["global_step"] == 4
        assert all(value.isfinite().all() for value in load_saved(tmp_path / "run", name)["state_dict"].values())


def test_weights_that_are_no_numbers_are_not_saved(faulty, tmp_path):
    _, told = faulty("gradient", "callbacks.last.every_n_train_steps=2")

    assert "Step 6 made weights that are no numbers" in told["reason"]
    assert load_saved(tmp_path / "run")["global_step"] == 4


def test_a_leap_of_the_loss_is_told_once_an_epoch(capsys):
    guard = LossGuard("unused", spike_factor=10)
    guard.before.extend([0.5] * 60)
    for step, loss in [(61, 4.9), (62, 5.1), (63, 9.0)]:
        guard._warn_on_spike(type("S", (), {"step": step, "epoch": 2}), loss)

    assert capsys.readouterr().out == "loss spike in step 62: 5.1, against a median of 0.5 before\n"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory (MPS allocated: 9 GB, other allocations: 1 GB, max allowed: 10 GB)",
        "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ],
)
def test_memory_that_runs_out_names_the_batch_size(faulty, text):
    error, told = faulty(text)

    assert (told["status"], told["reason"]) == (
        "failed",
        "Out of memory with data.batch_size=4. Try data.batch_size=2.",
    )
    assert "Try half the data.batch_size." in format_user_error(error, "train", [])


def test_a_full_disk_ends_the_run_and_the_earlier_checkpoint_stands(little_disk):
    words = [*SMALL_OVERRIDES, "trainer.max_epochs=100", "callbacks=none", f"output_dir={little_disk}/run"]
    last = (
        "callbacks={last:{_target_:firstlight.callbacks.last_checkpoint.LastCheckpoint,dirpath:"
        + f"{little_disk}/run/checkpoints"
        + "}}"
    )

    class Filler(SignalSender):
        def on_train_epoch_end(self, trainer, *args):
            if trainer.current_epoch == 1:
                with (little_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(512))

    with pytest.raises(OSError) as caught:
        train_model([*words, f"+{last}"], Filler())
    told = read_record(little_disk / "run")

    assert told["status"] == "failed"
    assert told["reason"].startswith("Disk full")
    assert format_user_error(caught.value, "train", []).startswith("Disk full")
    assert load_saved(little_disk / "run")["global_step"] == 4
    assert not [path for path in (little_disk / "run" / "checkpoints").iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("number", "what"),
    [(errno.ENOSPC, "Disk full while writing metrics.csv."), (errno.EACCES, "Cannot write metrics.csv: ")],
)
def test_a_disk_that_fails_under_metrics_csv(monkeypatch, tmp_path, number, what):
    def fail(self):
        raise OSError(number, os.strerror(number), "metrics.csv")

    monkeypatch.setattr(MetricsCSVLogger, "save", fail)
    with pytest.raises(OSError) as caught:
        train.main(compose_config("train", [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"]))

    assert what in read_record(tmp_path / "run")["reason"]
    assert what in format_user_error(caught.value, "train", [])


def test_a_disk_that_fills_up_inside_a_row_leaves_whole_rows(tmp_path, monkeypatch):
    logger = MetricsCSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.save()
    before = logger.path.read_text()
    text = logger._format_rows

    def half(rows):
        with logger.path.open("a", encoding="utf-8") as file:
            file.write(text(rows)[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(logger, "_format_rows", half)
    logger.log_metrics({"train/loss": 0.25}, step=1)
    with pytest.raises(OSError):
        logger.save()
    assert logger.path.read_text() == before
    monkeypatch.setattr(logger, "_format_rows", text)
    logger.finalize("failed")

    assert [row["train/loss"] for row in logger._read()] == ["0.5", "0.25"]


def test_a_folder_that_cannot_be_written_to_is_named():
    with pytest.raises(ValueError, match="^Cannot create ") as caught:
        train.main(compose_config("train", [*SMALL_OVERRIDES, "output_dir=/proc/run"]))

    assert format_user_error(caught.value, "train", []) == (
        "Cannot create /proc/run: No such file or directory. Choose another location with output_dir=<directory>."
    )
