"""Errors of disks are found behind the errors of libraries, and messages have a bounded length."""

import errno
import io
import os
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from firstlight.cli.errors import format_user_error, print_error
from firstlight.run.errors import DataError, TrainingError, describe_error, get_first_line, iter_error_chain, shorten
from firstlight.run.failure import describe_failure, find_known_reason
from firstlight.run.files import write_atomically
from support.interruption import SMALL_OVERRIDES, SignalSender, train_model


class FullDiskFile(io.FileIO):
    """A file on a disk that is full after 100 kB."""

    def write(self, data):
        if self.tell() + len(data) > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_full_disk_behind_error_of_torch_is_found(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save = partial(torch.save, {"weight": torch.zeros(50_000)})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: io.BufferedWriter(FullDiskFile(self, mode)))
        with pytest.raises(RuntimeError, match="unexpected pos") as caught:
            write_atomically(path, save)

    expected = f"Disk full while writing {path}. Free some space, then resume with resume=<run>."
    assert find_known_reason(caught.value) == expected
    assert list(tmp_path.iterdir()) == []


def raise_chained(cause, error, hides_cause):
    try:
        raise cause
    except BaseException:
        if hides_cause:
            raise error from None
        raise error from cause


OTHER = RuntimeError("write failed")
FULL = OSError(errno.ENOSPC, "No space left on device", "x")


@pytest.mark.parametrize(
    ("cause", "error", "message"),
    {
        "quota": (OTHER, OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "Disk full while writing x. Free"),
        "file size limit": (OTHER, OSError(errno.EFBIG, "File too large", "x"), "File too large while writing x. Use"),
        "broken disk": (OTHER, OSError(errno.EIO, "I/O error", "x"), "Cannot read or write x: Input/output error."),
        "stale NFS handle": (OSError(errno.ESTALE, "Stale", "x"), OTHER, "Cannot read or write x: Stale file handle."),
        "safetensors, Rust": (OTHER, ValueError("I/O error: No space left on device (os error 28)"), "Disk full. Free"),
        "SQLite": (sqlite3.OperationalError("database or disk is full"), OTHER, "Disk full. Free"),
        "sharded checkpoint": (FULL, RuntimeError("CheckpointException ranks:dict_keys([0])"), "Disk full while"),
        "hidden context": (FULL, OTHER, "Disk full while writing x."),
    }.values(),
)
def test_disk_errors_behind_other_errors_are_found(cause, error, message):
    with pytest.raises(type(error)) as caught:
        raise_chained(cause, error, hides_cause=cause is OTHER)

    assert (find_known_reason(caught.value) or "").startswith(message)


def test_cyclic_chain_of_errors_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert list(iter_error_chain(first)) == [first, second]


@pytest.mark.parametrize("moment", [("train_batch_end", 5), ("train_epoch_end", 2)])
def test_deleted_run_directory_ends_run_in_one_line(tmp_path, moment):
    class Deleter(SignalSender):
        def _count_call(self, hook):
            super()._count_call(hook)
            if (hook, self.calls[hook]) == moment:
                shutil.rmtree(tmp_path / "run")

    with pytest.raises(TrainingError) as caught:
        train_model([*SMALL_OVERRIDES, f"output_dir={tmp_path / 'run'}"], Deleter())

    assert format_user_error(caught.value, "train", []) == (
        f"{tmp_path / 'run'} was deleted during the run. Start a new run with `make train`."
    )
    assert not (tmp_path / "run").exists()


def test_messages_and_reasons_have_a_bounded_length(capsys):
    error = DataError(f"Label {'x' * 10_000_000} is unknown. Fix the label.")
    print_error(error, "train")
    printed, reason = capsys.readouterr().err, describe_failure(error, OmegaConf.create({}))

    assert len(printed) < 2_100
    assert len(reason) == 2_000
    assert printed.startswith("train: Label xxx")
    assert reason.endswith("xxx is unknown. Fix the label.")


@pytest.mark.parametrize(("length", "expected"), [(20, "a" * 20), (21, "a" * 10 + " ... " + "a" * 5)])
def test_shorten_keeps_start_and_end(length, expected):
    assert shorten("a" * length, 20) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("\n  too many values.\nHint: none", "ValueError: too many values"),
        (
            "Error(s) in loading state_dict for Net:\n\tsize mismatch for w.\n",
            "ValueError: Error(s) in loading state_dict for Net: size mismatch for w",
        ),
        ("cannot open:", "ValueError: cannot open"),
        ("", "ValueError"),
        (" \n", "ValueError"),
        ("x" * 1000, f"ValueError: {'x' * 133} ... {'x' * 50}"),
    ],
)
def test_error_of_a_library_is_described_in_one_line(message, expected):
    assert describe_error(ValueError(message)) == expected
    assert "\n" not in get_first_line(ValueError(message))
