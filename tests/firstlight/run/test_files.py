"""Files of a run are written as a whole, or not at all."""

import errno
import os

import pytest

from firstlight.run.files import write_atomically


def test_a_text_is_written_as_it_is(tmp_path):
    write_atomically(tmp_path / "run.json", "a\r\nä\udcff\n")

    assert (tmp_path / "run.json").read_bytes() == "a\r\nä?\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_function_writes_to_an_open_file(tmp_path):
    write_atomically(tmp_path / "x.bin", lambda file: file.write(b"\0\1"))

    assert (tmp_path / "x.bin").read_bytes() == b"\0\1"


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    (tmp_path / "x").write_text("before")

    def fails(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", fails)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "before")]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "x", "after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "before")]


def test_the_content_is_on_the_disk_before_the_file_gets_its_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("rename") or replace(*paths))
    write_atomically(tmp_path / "run.json", "{}")

    # The file, its name, and the directory that holds the name.
    assert calls == ["fsync", "rename", "fsync"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "to a reader")

    assert os.read(reader, 100) == b"to a reader"
    assert pipe.is_fifo()
    os.close(reader)
