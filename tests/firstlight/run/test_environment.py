"""A process starts in the environments of real machines."""

import os
import resource
import subprocess
import sys
import tempfile

import pytest

from firstlight.run import environment
from firstlight.run.environment import MAX_TMPDIR_BYTES, choose_temporary_dir
from firstlight.run.errors import ConfigError


@pytest.fixture(autouse=True)
def fresh_tempdir(tmp_path, monkeypatch):
    """Let Python choose its temporary directory again, now and after the test."""
    monkeypatch.setattr(tempfile, "tempdir", None)


def make_dir_of_length(parent, length):
    directory = parent / ("d" * max(length - len(str(parent)) - 1, 1))
    directory.mkdir()
    return str(directory)


def test_temporary_directory_too_long_for_sockets_is_replaced(tmp_path, monkeypatch):
    directory = make_dir_of_length(tmp_path, MAX_TMPDIR_BYTES + 40)
    monkeypatch.setenv("TMPDIR", directory)
    line = choose_temporary_dir(os.environ)

    assert line.startswith("Using /tmp for temporary files, because TMPDIR is longer than ")
    assert directory in line
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == "/tmp"


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_unusable_temporary_directory_is_replaced(tmp_path, monkeypatch, kind):
    path = tmp_path / "x"
    if kind == "file":
        path.touch()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.delenv("TEMP", raising=False)
    line = choose_temporary_dir(os.environ)

    assert (
        line
        == f"Using {tempfile.gettempdir()} for temporary files, because TMPDIR is not a writable directory: {path}."
    )
    assert os.environ["TMPDIR"] == tempfile.gettempdir() != str(path)


def test_usable_temporary_directory_stays(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)

        assert choose_temporary_dir(os.environ) == ""
        assert os.environ["TMPDIR"] == directory


def test_no_temporary_directory_is_an_error(monkeypatch):
    def fail():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)

    with pytest.raises(ConfigError, match="No usable temporary directory: .* Set TMPDIR to a writable directory"):
        choose_temporary_dir({})


def test_soft_limit_of_open_files_is_raised(monkeypatch):
    limits = [(256, resource.RLIM_INFINITY)]

    def set_limit(kind, wanted):
        if wanted[0] > 10240:  # as macOS answers
            raise ValueError("current limit exceeds maximum limit")
        limits.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[0])
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    environment.raise_open_file_limit()

    assert limits[1:] == [(10240, resource.RLIM_INFINITY)]


CODE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from firstlight.run.environment import open_closed_streams
open_closed_streams()
file = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
print("to stdout"); sys.stdout.flush(); os.write(1, b"from C"); print("to stderr", file=sys.stderr)
assert file > 2
"""


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_lead_into_the_next_opened_file(tmp_path, closing):
    source = os.path.dirname(os.path.dirname(os.path.dirname(environment.__file__)))
    command = f'exec "$@" {closing}'
    arguments = [sys.executable, "-S", "-c", CODE, source, str(tmp_path / "file")]
    process = subprocess.run(["sh", "-c", command, "sh", *arguments], capture_output=True, text=True)

    assert process.returncode == 0, process.stderr
    assert (tmp_path / "file").read_text() == ""
