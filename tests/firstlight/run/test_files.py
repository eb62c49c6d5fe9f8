"""Files of a run are written atomically."""

import errno
import os

import pytest

from firstlight.run.files import write_atomically


def test_text_is_written_unchanged(tmp_path):
    write_atomically(tmp_path / "run.json", "a\r\nä\udcff\n")

    assert (tmp_path / "run.json").read_bytes() == "a\r\nä?\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_function_writes_to_open_file(tmp_path):
    write_atomically(tmp_path / "x.bin", lambda file: file.write(b"\0\1"))

    assert (tmp_path / "x.bin").read_bytes() == b"\0\1"


def test_error_keeps_previous_file(tmp_path):
    (tmp_path / "x").write_text("before")

    def fail(file):
        file.write(b"incomplete")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "before")]


def test_full_disk_keeps_previous_file(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("before")

    def raise_disk_full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "x", "after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "before")]


def test_file_is_synced_before_rename(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("rename") or replace(*paths))
    write_atomically(tmp_path / "run.json", "{}")

    # Sync the file, rename it, then sync its directory.
    assert calls == ["fsync", "rename", "fsync"]


def test_pipe_is_written_in_place(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "to a reader")

    assert os.read(reader, 100) == b"to a reader"
    assert pipe.is_fifo()
    os.close(reader)
