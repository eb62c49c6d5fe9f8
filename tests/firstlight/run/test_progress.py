"""Long work shows its progress; short work prints nothing."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from firstlight.run import progress
from firstlight.run.progress import WorkProgress, format_duration, show_progress, track


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(progress, "SHOW_AFTER_S", 0.01)
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.05)


def wait_until_shown(work: WorkProgress) -> None:
    deadline = time.monotonic() + 20
    while not work.is_shown and time.monotonic() < deadline:
        time.sleep(0.005)


def test_short_work_prints_nothing(capsys):
    assert list(track([1, 2, 3], "Reading files")) == [1, 2, 3]

    assert capsys.readouterr() == ("", "")


def test_log_gets_lines_with_items_and_times(capsys, short_waits):
    with show_progress("Reading files", total=8) as work:
        work.advance(2)
        wait_until_shown(work)
        work.advance(6)

    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "Reading files: 2 of 8 (25 %), 0 s, 0 s left"
    assert lines[-1] == "Reading files: 8 in 0 s"


def test_single_long_call_is_shown(capsys, short_waits):
    with show_progress("Compiling the model") as work:
        wait_until_shown(work)

    assert capsys.readouterr().err.splitlines()[0] == "Compiling the model: 0 s"


def test_work_inside_of_other_work_is_not_shown(capsys, short_waits):
    with show_progress("Preparing") as outer, show_progress("Reading files") as inner:
        wait_until_shown(outer)

    assert not inner.is_shown
    assert "Reading files" not in capsys.readouterr().err
    assert not WorkProgress.is_any_shown


def test_failed_work_prints_no_result(capsys, short_waits):
    def fail() -> None:
        with show_progress("Reading files") as work:
            wait_until_shown(work)
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        fail()

    assert " in " not in capsys.readouterr().err
    assert not WorkProgress.is_any_shown


def test_only_rank_0_shows_progress(capsys, short_waits, monkeypatch):
    monkeypatch.setattr(progress, "is_nonzero_rank", lambda: True)

    with show_progress("Reading files") as work:
        time.sleep(0.2)

    assert not work.is_shown
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_800, "2 h 10 min")]
)
def test_durations_are_readable(seconds, text):
    assert format_duration(seconds) == text


def test_remaining_time_follows_from_the_completed_items(monkeypatch):
    work = WorkProgress("Tokenizing", total=8)
    work.advance(2)
    started = time.monotonic()
    monkeypatch.setattr(work, "_started", started - 4)
    monkeypatch.setattr(progress.time, "monotonic", lambda: started)

    assert work.format_line() == "Tokenizing: 2 of 8 (25 %), 4 s, 12 s left"


def test_terminal_shows_a_bar_below_other_output():
    code = (
        "import time\n"
        "from firstlight.run import progress\n"
        "progress.SHOW_AFTER_S = 0.01\n"
        "with progress.show_progress('Reading [files]', total=4) as work:\n"
        "    work.advance()\n"
        "    while not work.is_shown: time.sleep(0.01)\n"
        "    time.sleep(0.5)\n"
        "    print('a message')\n"
    )
    text = run_in_terminal(code)

    assert "Reading [files]: 1 of 4 (25 %)" in text
    assert "a message" in text
    # A busy machine takes longer than the half second.
    assert re.search(r"Reading \[files\]: 1 in \d+ s$", text.splitlines()[-1])


def test_terminal_keeps_its_streams_if_the_work_redirects_its_output():
    code = (
        "import contextlib, io, sys, time\n"
        "from firstlight.run import progress\n"
        "progress.SHOW_AFTER_S = 0.01\n"
        "streams = sys.stdout, sys.stderr\n"
        "with progress.show_progress('Reading files') as work:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        while not work.is_shown: time.sleep(0.01)\n"
        "        time.sleep(0.3)\n"
        "assert (sys.stdout, sys.stderr) == streams\n"
    )

    run_in_terminal(code)


def run_in_terminal(code: str) -> str:
    """Run Python code in a terminal, and return the shown text; the code must succeed."""
    reader, writer = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=writer, env={**os.environ})
    os.close(writer)
    output = b""
    while chunk := read_terminal(reader):
        output += chunk
    assert process.wait() == 0
    return output.decode()


def read_terminal(descriptor: int) -> bytes:
    """Return what the terminal shows next; b"" at its end, which Linux reports as an error."""
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""
