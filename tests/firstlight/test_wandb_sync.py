"""`make wandb-sync` finds pending runs, and reports in one line why it cannot upload them."""

import json
import os
import socket

import pytest

from firstlight import wandb_sync
from firstlight.config.compose import compose_config
from firstlight.logger import wandb_auth
from firstlight.logger.wandb_offline import find_pending, find_segments
from firstlight.run.errors import ConfigError, UserError


def write_segment(run_dir, name, synced=False, content=b"something"):
    """Write a segment as W&B's client does, and return its directory."""
    segment_dir = run_dir / "wandb" / name
    segment_dir.mkdir(parents=True)
    file = segment_dir / f"run-{name.rpartition('-')[2]}.wandb"
    file.write_bytes(b":W&B123" + content)
    if synced:
        file.with_suffix(".wandb.synced").touch()
    return segment_dir


def run_wandb_sync(directory, *overrides):
    return wandb_sync.main(compose_config("wandb_sync", [f"runs={directory}", *overrides]))["uploaded"]


def test_pending_runs_are_listed_in_chronological_order(tmp_path, capsys):
    write_segment(tmp_path / "b", "offline-run-20260101_000002-bbb")
    write_segment(tmp_path / "a", "offline-run-20260101_000003-aaa")
    write_segment(tmp_path / "a", "run-20260101_000001-aaa")
    write_segment(tmp_path / "c", "offline-run-20260101_000000-ccc", synced=True)
    write_segment(tmp_path / "d", "run-20260101_000000-ddd", content=b"")
    run_wandb_sync(tmp_path, "dry_run=true")
    lines = capsys.readouterr().out.splitlines()

    assert [f"pending     {tmp_path}/a  (2 segments)", f"pending     {tmp_path}/b"] == lines
    is_online = [segment.segment_dir.name.startswith("run-") for segment in find_pending(tmp_path)["aaa"]]
    assert is_online == [True, False]


def test_nothing_to_upload_is_not_an_error(tmp_path, capsys):
    assert run_wandb_sync(tmp_path) == {}
    assert capsys.readouterr().out == f"Nothing to upload in {tmp_path}.\n"


@pytest.mark.parametrize("name", ["files/notes.txt", "run-aaa.wandb"])
def test_segment_that_leads_out_is_not_uploaded(tmp_path, capsys, name):
    (tmp_path / "private.txt").write_text("something private")
    segment_dir = write_segment(tmp_path / "run", "offline-run-20260101_000000-aaa")
    (segment_dir / "files").mkdir()
    (segment_dir / name).unlink(missing_ok=True)
    (segment_dir / name).symlink_to(tmp_path / "private.txt")

    assert run_wandb_sync(tmp_path) == {}
    file = name.rpartition("/")[2]
    assert f"skipped     {tmp_path}/run  {file} leads out of the run directory\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["[", "[1]", '{"loggers": 1}', '{"status": "running", "loggers": {"wandb": {"segment_dir": 3}}}', "[" * 99999],
)
def test_damaged_record_does_not_stop_the_upload(tmp_path, capsys, text):
    write_segment(tmp_path, "offline-run-20260101_000000-aaa")
    (tmp_path / "wandb" / "run-x" / "y").mkdir(parents=True)
    (tmp_path / "wandb" / "run-x" / "run-z.wandb").touch()
    (tmp_path / "run.json").write_text(text)
    run_wandb_sync(tmp_path, "dry_run=true")

    assert capsys.readouterr().out == f"pending     {tmp_path}\n"


def test_active_run_is_not_uploaded(tmp_path, capsys):
    segment_dir = write_segment(tmp_path, "offline-run-20260101_000000-aaa")
    run_info = {"segment_dir": str(segment_dir), "host": socket.gethostname(), "pid": os.getpid()}
    record = {"status": "running", "loggers": {"wandb": run_info}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    run_wandb_sync(tmp_path)
    output = capsys.readouterr().out
    # Larger than the maximum process ID of Linux and macOS.
    run_info["pid"] = 2**22 + 1
    (tmp_path / "run.json").write_text(json.dumps(record))

    assert f"running     {tmp_path}" in output
    assert "Nothing to upload" in output
    assert not find_segments(tmp_path)[0].may_be_running


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "No W&B API key found. Run `wandb login` first."),
        (
            ValueError("API key must have 40+ characters"),
            "Cannot connect to W&B, or the API key was rejected (API key must have 40+ characters).",
        ),
    ],
)
def test_upload_requires_valid_api_key(tmp_path, monkeypatch, error, message):
    def has_api_key(verify):
        if error:
            raise error
        return False

    monkeypatch.setattr(wandb_auth, "has_api_key", has_api_key)
    write_segment(tmp_path, "offline-run-20260101_000000-aaa")

    with pytest.raises(UserError) as raised:
        run_wandb_sync(tmp_path)
    assert str(raised.value).startswith(message)


def test_failed_upload_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wandb_auth, "has_api_key", lambda verify: True)
    monkeypatch.setenv("WANDB_API_KEY", "local" + 40 * "0")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    write_segment(tmp_path, "offline-run-20260101_000000-aaa")

    with pytest.raises(UserError, match="1 of 1 runs could not be uploaded. These runs remain on disk. Run `make"):
        run_wandb_sync(tmp_path)
    assert f"failed      {tmp_path}  Failed to read" in capsys.readouterr().out


def test_missing_directory_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match=r"none is not a directory\. Pass runs=logs or runs=<run directory>\."):
        run_wandb_sync(tmp_path / "none")
