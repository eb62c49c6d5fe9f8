"""`make wandb-sync` finds what waits, and says in one sentence why it cannot upload."""

import json
import os
import socket

import pytest

from firstlight import wandb_sync
from firstlight.config.compose import compose_config
from firstlight.logger import wandb_auth
from firstlight.logger.wandb_offline import find_pending, find_segments


def part(folder, name, synced=False, content=b"something"):
    """Make what W&B's client leaves behind."""
    path = folder / "wandb" / name
    path.mkdir(parents=True)
    file = path / f"run-{name.rpartition('-')[2]}.wandb"
    file.write_bytes(b":W&B123" + content)
    if synced:
        file.with_suffix(".wandb.synced").touch()
    return path


def sync(folder, *words):
    return wandb_sync.main(compose_config("wandb_sync", [f"runs={folder}", *words]))


def test_what_waits_is_listed_in_the_order_it_was_made(tmp_path, capsys):
    part(tmp_path / "b", "offline-run-20260101_000002-bbb")
    part(tmp_path / "a", "offline-run-20260101_000003-aaa")
    part(tmp_path / "a", "run-20260101_000001-aaa")
    part(tmp_path / "c", "offline-run-20260101_000000-ccc", synced=True)
    part(tmp_path / "d", "run-20260101_000000-ddd", content=b"")
    sync(tmp_path, "dry_run=true")
    told = capsys.readouterr().out.splitlines()

    assert [f"waits       {tmp_path}/a  (2 parts)", f"waits       {tmp_path}/b"] == told
    assert [each.folder.name.startswith("run-") for each in find_pending(tmp_path)["aaa"]] == [True, False]


def test_nothing_that_waits_is_no_mistake(tmp_path, capsys):
    assert sync(tmp_path) == {}
    assert capsys.readouterr().out == f"nothing waits for upload in {tmp_path}\n"


def test_a_run_that_is_being_written_stays(tmp_path, capsys):
    folder = part(tmp_path, "offline-run-20260101_000000-aaa")
    facts = {"folder": str(folder), "host": socket.gethostname(), "process": os.getpid()}
    record = {"status": "running", "loggers": {"wandb": facts}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    sync(tmp_path)
    running = capsys.readouterr().out
    # The highest process id of Linux and macOS lies below.
    facts["process"] = 2**22 + 1
    (tmp_path / "run.json").write_text(json.dumps(record))

    assert "runs still" in running
    assert "nothing waits" in running
    assert not find_segments(tmp_path)[0].is_running


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (False, "An upload needs a key of W&B, but there is none: run `wandb login` first"),
        (ValueError("API key must have 40+ characters"), "W&B's server does not answer, or refuses the key (API key m"),
    ],
)
def test_without_a_key_nothing_is_uploaded(tmp_path, monkeypatch, found, sentence):
    def has_key(verify):
        if found:
            raise found
        return False

    monkeypatch.setattr(wandb_auth, "has_api_key", has_key)
    part(tmp_path, "offline-run-20260101_000000-aaa")

    with pytest.raises(ValueError) as refused:
        sync(tmp_path)
    assert str(refused.value).startswith(sentence)


def test_a_run_that_does_not_arrive_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wandb_auth, "has_api_key", lambda verify: True)
    monkeypatch.setenv("WANDB_API_KEY", "local" + 40 * "0")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    part(tmp_path, "offline-run-20260101_000000-aaa")

    with pytest.raises(ValueError, match="1 of 1 runs did not arrive: they stay on disk, try again later"):
        sync(tmp_path)
    assert f"failed      {tmp_path}  Failed to read" in capsys.readouterr().out


def test_runs_is_a_folder(tmp_path):
    with pytest.raises(ValueError, match="runs= takes a folder of runs, but .* is none: give runs=logs, or that of"):
        sync(tmp_path / "none")
