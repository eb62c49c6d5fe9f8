"""Tests of the origin of pretrained weights and data."""

import pytest

from firstlight.export.origins import find_base_model, find_hub_dataset
from firstlight.export.source import ExportSource


@pytest.mark.parametrize(
    ("config", "name", "hub_id"),
    [
        ({"model": {"weights": "google/electra-small"}}, "google/electra-small", True),
        ({"model": {"weights": "weights/file.safetensors"}}, "weights/file.safetensors", False),
        ({"model": {}, "init_from": {"path": "logs/train/run"}}, "logs/train/run", False),
    ],
)
def test_base_model_is_named(config, name, hub_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "file.safetensors").touch()
    found = find_base_model(ExportSource(None, None, "last.ckpt", config))

    assert (found.name, found.hub_id is not None) == (name, hub_id)
    assert find_base_model(ExportSource(None, None, "last.ckpt", {"model": {"weights": None}})) is None
    assert find_hub_dataset({"data": {"dataset_name": "stanfordnlp/imdb"}}) == "stanfordnlp/imdb"
    assert find_hub_dataset({"data": {"dataset_name": "weights/file.safetensors"}}) is None
