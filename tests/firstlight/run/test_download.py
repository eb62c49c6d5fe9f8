"""Progress of downloads, and how to bring by hand what cannot be downloaded."""

import socket
import time
from pathlib import Path

import pytest

from firstlight.run import download, progress
from firstlight.run.download import describe_failed_download, get_hub_model_dir, get_torch_hub_dir, show_download


def test_log_shows_how_much_is_downloaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SHOW_AFTER_S", 0.01)
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.05)
    monkeypatch.setattr(download, "MEASURE_INTERVAL_S", 0.01)
    (tmp_path / "earlier").write_bytes(bytes(5_000_000))
    expected = "Downloading weights (MB): 3 of 10 (30 %)"
    with show_download("Downloading weights", tmp_path, total_mb=10):
        (tmp_path / "blobs").mkdir()
        (tmp_path / "blobs" / "x.incomplete").write_bytes(bytes(3_000_000))
        err, deadline = "", time.monotonic() + 20
        while expected not in err and time.monotonic() < deadline:
            time.sleep(0.01)
            err += capsys.readouterr().err

    assert expected in err


@pytest.mark.parametrize(
    ("environment", "torch_dir", "hub_dir"),
    [
        ({}, "~/.cache/torch", "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/torch", "/c/huggingface/hub"),
        ({"TORCH_HOME": "/t", "HF_HOME": "/h"}, "/t", "/h/hub"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/hub"}, "~/.cache/torch", "/hub"),
    ],
)
def test_directories_of_caches(environment, torch_dir, hub_dir):
    assert get_torch_hub_dir(environment) == Path(torch_dir).expanduser() / "hub/checkpoints"
    assert get_hub_model_dir("org/name", environment) == Path(hub_dir).expanduser() / "models--org--name"


def test_missing_network_is_explained_and_other_errors_are_not(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    error = OSError("We couldn't connect")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")

    assert describe_failed_download(error, "`hf download x`", "model.weights=<directory>") == (
        "it is not in the cache, and there is no connection ([Errno -2] Name or service not known). On a machine with "
        "network access, run `make prepare`, or `hf download x`; copy the result here, and set "
        "model.weights=<directory>."
    )
    assert describe_failed_download(ValueError("shape"), "x", "y=z") is None
