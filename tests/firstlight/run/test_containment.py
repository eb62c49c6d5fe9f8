"""Files of a run directory: links that lead out of it and special files are neither read nor written."""

import os
import socket

import pytest

from firstlight.run.containment import iter_unsafe_files, open_inside, read_text_inside, validate_run_files
from firstlight.run.errors import CheckpointError
from firstlight.run.files import list_checkpoints, read_json_or_empty, write_atomically


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """Return a run directory next to a private file."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "private.json").write_text('{"secret": 1}')
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


def make_unsafe(path, kind):
    """Create a file that leads out of the run directory or is special."""
    match kind:
        case "absolute link":
            path.symlink_to(path.parents[1] / "private.json")
        case "relative link":
            path.symlink_to("../private.json")
        case "directory link":
            path.symlink_to("..")
        case "dangling link":
            path.symlink_to("../missing")
        case "chain":
            (path.parent / "first").symlink_to("../private.json")
            path.symlink_to("first")
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)


KINDS = ["absolute link", "relative link", "directory link", "dangling link", "chain", "pipe", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_unsafe_file_is_rejected(run_dir, kind):
    make_unsafe(run_dir / "run.json", kind)

    with pytest.raises(CheckpointError, match=r"leads out of the run directory|is neither a file nor a directory"):
        validate_run_files(run_dir)
    with pytest.raises(OSError):
        open_inside(run_dir / "run.json")
    assert read_json_or_empty(run_dir / "run.json") == {}


def test_links_inside_the_run_are_followed(run_dir):
    (run_dir / "checkpoints" / "epoch=1.ckpt").write_text("x")
    (run_dir / "checkpoints" / "last.ckpt").symlink_to("epoch=1.ckpt")
    (run_dir / "best.json").write_text('{"path": "checkpoints/last.ckpt"}')
    validate_run_files(run_dir)

    assert read_text_inside(run_dir / "checkpoints" / "last.ckpt") == "x"
    assert list_checkpoints(run_dir) == dict.fromkeys(("best", "last"), str(run_dir / "checkpoints" / "last.ckpt"))


@pytest.mark.parametrize(
    "record", ["../private.json", "/etc/hostname", "checkpoints/../../private.json", "\\u0000", "x" * 9999]
)
def test_record_of_best_checkpoint_cannot_lead_out(run_dir, record):
    (run_dir / "best.json").write_text(f'{{"path": "{record}"}}')

    assert list_checkpoints(run_dir) == {}


def test_linked_checkpoint_directory_is_not_listed(run_dir):
    (run_dir / "checkpoints").rmdir()
    (run_dir.parent / "other").mkdir()
    (run_dir.parent / "other" / "last.ckpt").touch()
    (run_dir / "checkpoints").symlink_to("../other")

    assert list_checkpoints(run_dir) == {}


def test_log_of_wandb_service_is_permitted(run_dir):
    logs = run_dir / "wandb" / "offline-run-20260101_000000-abc" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to("/home/ada/.cache/wandb/logs/core-debug.log")
    (logs / "other.log").symlink_to("/home/ada/.cache/wandb/logs/core-debug.log")

    assert list(iter_unsafe_files(run_dir)) == [logs / "other.log"]


def test_temporary_file_of_a_write_is_not_followed(run_dir):
    (run_dir / ".run.json.tmp").symlink_to("../private.json")
    write_atomically(run_dir / "run.json", "{}")

    assert (run_dir.parent / "private.json").read_text() == '{"secret": 1}'
    assert (run_dir / "run.json").read_text() == "{}"
