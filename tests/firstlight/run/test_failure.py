"""Failures of a run: status, one-line reason, and preserved files."""

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
def train_with_fault(monkeypatch, tmp_path):
    """Return a function that trains with a fault in step 6, the second step of epoch 2.

    The function returns the error and the contents of run.json.
    """

    def train_(fault, *overrides):
        monkeypatch.setenv("FAULT", f"step==5:{fault}")
        overrides = [*SMALL_OVERRIDES, "model=tiny_faulty", f"output_dir={tmp_path / 'run'}", *overrides]
        with pytest.raises(BaseException) as caught:
            train.main(compose_config("train", overrides))
        return caught.value, read_record(tmp_path / "run")

    return train_


@pytest.fixture
def small_disk(tmp_path):
    """Return a directory on a file system of 256 KiB."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount_point]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system requires root on Linux")
    yield mount_point
    subprocess.run(["umount", "--lazy", mount_point], check=True)


@pytest.mark.parametrize(
    ("value", "interval"),
    [("nan", 3), *(pytest.param(value, 1, marks=pytest.mark.slow) for value in ("nan", "inf"))],
)
def test_non_finite_loss_stops_run_before_saving(train_with_fault, tmp_path, value, interval):
    error, record = train_with_fault(value, f"trainer.log_every_n_steps={interval}")
    batch = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)

    assert record["status"] == "failed"
    assert f"Loss is {value} at step 6 (epoch 2). The batch (train samples " in record["reason"] == str(error)
    assert "Try a lower optimizer.lr. The last checkpoint predates this step." in str(error)
    assert format_user_error(error, "train", []) == str(error)
    assert (len(batch["ids"]), batch["epoch"], batch["step"]) == (4, 1, 6)
    assert torch.equal(batch["batch"]["ids"], torch.tensor(batch["ids"]))
    for name in ("last", "best"):
        assert load_saved(tmp_path / "run", name)["global_step"] == 4
        assert all(value.isfinite().all() for value in load_saved(tmp_path / "run", name)["state_dict"].values())


def test_non_finite_weights_are_not_saved(train_with_fault, tmp_path):
    _, record = train_with_fault("gradient", "callbacks.last.every_n_train_steps=2")

    assert "Weights became NaN or infinite at step 6." in record["reason"]
    assert load_saved(tmp_path / "run")["global_step"] == 4


def test_loss_spike_warning_once_per_epoch(capsys):
    guard = LossGuard("unused", spike_factor=10)
    guard.history.extend([0.5] * 60)
    for step, loss in [(61, 4.9), (62, 5.1), (63, 9.0)]:
        guard._warn_on_spike(type("S", (), {"step": step, "epoch": 2}), loss)

    assert capsys.readouterr().out == "Warning: loss spike at step 62: 5.1 (recent median 0.5).\n"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory (MPS allocated: 9 GB, other allocations: 1 GB, max allowed: 10 GB)",
        "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ],
)
def test_out_of_memory_suggests_batch_size(train_with_fault, text):
    error, record = train_with_fault(text)

    assert (record["status"], record["reason"]) == (
        "failed",
        "Out of memory with data.batch_size=4. Try data.batch_size=2.",
    )
    assert "Halve data.batch_size." in format_user_error(error, "train", [])


def test_full_disk_keeps_previous_checkpoint(small_disk):
    overrides = [*SMALL_OVERRIDES, "trainer.max_epochs=100", "callbacks=none", f"output_dir={small_disk}/run"]
    last = (
        "callbacks={last:{_target_:firstlight.callbacks.last_checkpoint.LastCheckpoint,dirpath:"
        + f"{small_disk}/run/checkpoints"
        + "}}"
    )

    class DiskFiller(SignalSender):
        def on_train_epoch_end(self, trainer, *args):
            if trainer.current_epoch == 1:
                with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(512))

    with pytest.raises(OSError) as caught:
        train_model([*overrides, f"+{last}"], DiskFiller())
    record = read_record(small_disk / "run")

    assert record["status"] == "failed"
    assert record["reason"].startswith("Disk full")
    assert format_user_error(caught.value, "train", []).startswith("Disk full")
    assert load_saved(small_disk / "run")["global_step"] == 4
    assert not [path for path in (small_disk / "run" / "checkpoints").iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "Disk full while writing metrics.csv."), (errno.EACCES, "Cannot write metrics.csv: ")],
)
def test_metrics_csv_write_error(monkeypatch, tmp_path, number, message):
    def fail(self):
        raise OSError(number, os.strerror(number), "metrics.csv")

    monkeypatch.setattr(MetricsCSVLogger, "save", fail)
    with pytest.raises(OSError) as caught:
        train.main(compose_config("train", [*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"]))

    assert message in read_record(tmp_path / "run")["reason"]
    assert message in format_user_error(caught.value, "train", [])


def test_disk_full_while_writing_a_row_keeps_complete_rows(tmp_path, monkeypatch):
    logger = MetricsCSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.save()
    before = logger.path.read_text()
    format_rows = logger._format_rows

    def write_partial_row(rows):
        with logger.path.open("a", encoding="utf-8") as file:
            file.write(format_rows(rows)[:3])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(logger, "_format_rows", write_partial_row)
    logger.log_metrics({"train/loss": 0.25}, step=1)
    with pytest.raises(OSError):
        logger.save()
    assert logger.path.read_text() == before
    monkeypatch.setattr(logger, "_format_rows", format_rows)
    logger.finalize("failed")

    assert [row["train/loss"] for row in logger._read()] == ["0.5", "0.25"]


def test_unwritable_output_dir_is_reported():
    with pytest.raises(ValueError, match="^Cannot create ") as caught:
        train.main(compose_config("train", [*SMALL_OVERRIDES, "output_dir=/proc/run"]))

    assert format_user_error(caught.value, "train", []) == (
        "Cannot create /proc/run: No such file or directory. Choose another location with output_dir=<directory>."
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Got unsupported ScalarType BFloat16", "Set trainer.precision=32-true."),
        (
            "Early stopping conditioned on metric `x` which is not available. Use any of the following: `val_loss`",
            "Early stopping conditioned on metric `x` which is not available. Use any of the following: `val_loss`",
        ),
    ],
)
def test_known_errors_of_modules_are_one_line(message, expected):
    with suppress(TypeError):
        text = format_user_error(RuntimeError(message), "train", [])

    assert text.endswith(expected)
    assert "\n" not in text
