"""Pretrained weights of images: by name, or from a file, and never code."""

import pytest
import torch
import torchvision
from torchvision.models import SqueezeNet1_1_Weights

from firstlight.model.pretrained import load_pretrained
from support.pickles import MaliciousPickle
from support.tiny_models import TinyImages

TWO = ["a", "b"]


@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
def test_weights_come_from_a_file_all_but_the_head(tmp_path, kind):
    trained = TinyImages(["a", "b", "c"], image_size=8)
    state = trained.network.state_dict() if kind == "weights" else {"state_dict": trained.state_dict()}
    torch.save(state, tmp_path / "weights.pt")
    fine_tuned = TinyImages(TWO, image_size=8, weights=str(tmp_path / "weights.pt"))
    ours, theirs = fine_tuned.network.state_dict(), trained.network.state_dict()

    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("head."))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(TinyImages(TWO, image_size=8, width=4).network.state_dict(), tmp_path / "narrow.pt")

    with pytest.raises(ValueError, match=r"does not fit this network: \d+ tensors are missing or of another shape"):
        TinyImages(TWO, image_size=8, weights=str(tmp_path / "narrow.pt"))


def test_a_pickle_as_weights_is_refused(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(ValueError, match="weights.pt holds something else than weights .UnpicklingError.: give anoth"):
        TinyImages(TWO, image_size=8, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_weights_come_from_torchvision_by_name(monkeypatch):
    published, network = (torchvision.models.squeezenet1_1() for _ in range(2))
    state = published.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: dict(state))
    load_pretrained(network, "IMAGENET1K_V1", SqueezeNet1_1_Weights, leave_out="classifier.")

    assert torch.equal(state["features.0.weight"], network.state_dict()["features.0.weight"])
    assert not torch.equal(state["classifier.1.weight"], network.state_dict()["classifier.1.weight"])


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="model.weights=V9 is neither a file nor one of IMAGENET1K_V1, DEFAULT: "):
        load_pretrained(torchvision.models.squeezenet1_1(), "V9", SqueezeNet1_1_Weights, leave_out="classifier.")


def test_without_network_a_download_is_refused_in_a_sentence(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    network = torchvision.models.squeezenet1_1()

    with pytest.raises(ValueError, match="IMAGENET1K_V1 of SqueezeNet1_1 could not be downloaded .* connect to the n"):
        load_pretrained(network, "IMAGENET1K_V1", SqueezeNet1_1_Weights, leave_out="classifier.")
