"""The console output of a run is copied to output.log."""

import os
import sys

import pytest

from firstlight.run.console_log import tee_to_file


def test_output_is_printed_and_logged(tmp_path, capsys):
    with tee_to_file(tmp_path / "output.log"):
        print("seen")
        print("warned", file=sys.stderr)
    print("after")
    printed = capsys.readouterr()

    assert (tmp_path / "output.log").read_text() == "seen\nwarned\n"
    assert (printed.out, printed.err) == ("seen\nafter\n", "warned\n")


def test_error_is_logged_with_traceback_and_propagates(tmp_path):
    def run():
        with tee_to_file(tmp_path / "output.log"):
            print("before")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        run()
    lines = (tmp_path / "output.log").read_text().splitlines()

    assert lines[0] == "before"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_resumed_run_appends(tmp_path):
    for text in ("first", "second"):
        with tee_to_file(tmp_path / "output.log"):
            print(text)

    assert (tmp_path / "output.log").read_text() == "first\nsecond\n"


def test_stream_used_after_the_run_is_not_logged(tmp_path, capsys):
    with tee_to_file(tmp_path / "output.log"):
        stream = sys.stdout
    print("later", file=stream)

    assert (tmp_path / "output.log").read_text() == ""
    assert capsys.readouterr().out == "later\n"


def test_closed_stdout_does_not_stop_run(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    os.close(reader)
    with tee_to_file(tmp_path / "output.log"):
        print("unseen", flush=True)
        print("too", flush=True)

    assert (tmp_path / "output.log").read_text() == "unseen\ntoo\n"
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # Closing the stream flushes its buffer.


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full exists only on Linux")
def test_full_disk_does_not_stop_run(tmp_path, capsys):
    (tmp_path / "output.log").symlink_to("/dev/full")
    with tee_to_file(tmp_path / "output.log"):
        print("on")

    assert capsys.readouterr().out == "on\n"
