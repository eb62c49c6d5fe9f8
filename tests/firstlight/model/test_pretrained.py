"""Pretrained weights by name or from a file, without running code."""

import pytest
import torch
import torchvision
from torchvision.models import SqueezeNet1_1_Weights

from firstlight.model.pretrained import load_pretrained
from firstlight.run.errors import CheckpointError, ConfigError
from support.pickles import MaliciousPickle
from support.tiny_models import TinyImages

CLASSES = ["a", "b"]


@pytest.mark.parametrize("content", ["state dict", "checkpoint"])
def test_weights_except_head_are_loaded_from_file(tmp_path, content):
    pretrained = TinyImages(["a", "b", "c"], image_size=8)
    state = pretrained.network.state_dict() if content == "state dict" else {"state_dict": pretrained.state_dict()}
    torch.save(state, tmp_path / "weights.pt")
    model = TinyImages(CLASSES, image_size=8, weights=str(tmp_path / "weights.pt"))
    loaded, expected = model.network.state_dict(), pretrained.network.state_dict()

    assert all(torch.equal(loaded[name], expected[name]) for name in loaded if not name.startswith("head."))


def test_weights_of_other_network_are_rejected(tmp_path):
    torch.save(TinyImages(CLASSES, image_size=8, width=4).network.state_dict(), tmp_path / "narrow.pt")

    with pytest.raises(CheckpointError, match=r"is incompatible with this network: \d+ of \d+ tensors are missing or"):
        TinyImages(CLASSES, image_size=8, weights=str(tmp_path / "narrow.pt"))


def test_pickle_is_rejected(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(CheckpointError, match="weights.pt is not a state dict or checkpoint .UnpicklingError."):
        TinyImages(CLASSES, image_size=8, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_weights_except_head_are_loaded_by_name(monkeypatch):
    published, network = (torchvision.models.squeezenet1_1() for _ in range(2))
    state = published.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: dict(state))
    load_pretrained(network, "IMAGENET1K_V1", SqueezeNet1_1_Weights, skip_prefix="classifier.")

    assert torch.equal(state["features.0.weight"], network.state_dict()["features.0.weight"])
    assert not torch.equal(state["classifier.1.weight"], network.state_dict()["classifier.1.weight"])


def test_unknown_weights_are_rejected():
    with pytest.raises(ConfigError, match="Unknown model.weights 'V9'. Available: IMAGENET1K_V1, DEFAULT. Set model"):
        load_pretrained(torchvision.models.squeezenet1_1(), "V9", SqueezeNet1_1_Weights, skip_prefix="classifier.")


def test_failed_download_is_reported(monkeypatch):
    def raise_unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", raise_unreachable)
    network = torchvision.models.squeezenet1_1()

    with pytest.raises(
        CheckpointError, match="Could not download model.weights=IMAGENET1K_V1 for SqueezeNet1_1 .no network."
    ):
        load_pretrained(network, "IMAGENET1K_V1", SqueezeNet1_1_Weights, skip_prefix="classifier.")
