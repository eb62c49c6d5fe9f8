"""What a run prints is kept."""

import os
import sys

import pytest

from firstlight.run.console_log import tee_to_file


def test_what_is_printed_is_shown_and_kept(tmp_path, capsys):
    with tee_to_file(tmp_path / "output.log"):
        print("seen")
        print("warned", file=sys.stderr)
    print("after")
    told = capsys.readouterr()

    assert (tmp_path / "output.log").read_text() == "seen\nwarned\n"
    assert (told.out, told.err) == ("seen\nafter\n", "warned\n")


def test_an_error_is_kept_with_its_traceback_and_goes_on(tmp_path):
    def run():
        with tee_to_file(tmp_path / "output.log"):
            print("before")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        run()
    lines = (tmp_path / "output.log").read_text().splitlines()

    assert lines[0] == "before"
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_run_that_goes_on_appends(tmp_path):
    for word in ("first", "second"):
        with tee_to_file(tmp_path / "output.log"):
            print(word)

    assert (tmp_path / "output.log").read_text() == "first\nsecond\n"


def test_a_stream_that_outlives_the_run_writes_to_the_screen_alone(tmp_path, capsys):
    with tee_to_file(tmp_path / "output.log"):
        stream = sys.stdout
    print("later", file=stream)

    assert (tmp_path / "output.log").read_text() == ""
    assert capsys.readouterr().out == "later\n"


def test_a_reader_that_has_enough_does_not_stop_the_run(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    os.close(reader)
    with tee_to_file(tmp_path / "output.log"):
        print("unseen", flush=True)
        print("too", flush=True)

    assert (tmp_path / "output.log").read_text() == "unseen\ntoo\n"
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what waits in the stream is written when it is closed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's full disk")
def test_a_full_disk_does_not_stop_the_run(tmp_path, capsys):
    (tmp_path / "output.log").symlink_to("/dev/full")
    with tee_to_file(tmp_path / "output.log"):
        print("on")

    assert capsys.readouterr().out == "on\n"
