"""ResNet50 and VGG16: stems, heads and pretrained weights."""

from pathlib import Path

import pytest
import torch

from my_project.model.resnet50 import ResNet50
from my_project.model.vgg16 import VGG16

TWO = ["a", "b"]


def parameters(model) -> float:
    return sum(each.numel() for each in model.parameters()) / 1e6


@pytest.mark.parametrize(
    ("image_size", "native_size", "kernel"),
    [(224, 224, 7), (32, 32, 3), (64, 64, 3), (96, 96, 7), (32, 8, 7)],
    ids=["photos", "CIFAR-10", "64 px", "96 px", "enlarged digits"],
)
def test_the_stem_suits_the_image_size(image_size, native_size, kernel):
    model = ResNet50(TWO, image_size, native_size)

    assert (kernel, kernel) == model.network.conv1.kernel_size


def test_small_images_get_a_small_head():
    assert parameters(VGG16(TWO, image_size=32)) < 15


@pytest.mark.parametrize("image_size", [32, 64])
def test_both_networks_read_small_images(image_size):
    images = torch.rand(2, 3, image_size, image_size)

    for model in (ResNet50(TWO, image_size), VGG16(TWO, image_size)):
        assert tuple(model(images).shape) == (2, 2)


@pytest.mark.parametrize("model", [ResNet50, VGG16])
def test_weights_come_from_a_file(model, tmp_path):
    torch.manual_seed(0)
    trained = model(["a", "b", "c"], image_size=32)
    torch.save(trained.network.state_dict(), tmp_path / "weights.pt")
    fine_tuned = model(TWO, image_size=32, weights=str(tmp_path / "weights.pt"))
    ours, theirs = fine_tuned.network.state_dict(), trained.network.state_dict()
    head = "fc." if model is ResNet50 else "classifier."

    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith(head))


def test_weights_come_from_torchvision_by_name(monkeypatch):
    state = ResNet50(TWO, image_size=224).network.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: dict(state))
    model = ResNet50(TWO, image_size=224, weights="IMAGENET1K_V2")

    assert torch.equal(state["layer4.2.conv3.weight"], model.network.state_dict()["layer4.2.conv3.weight"])


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(VGG16(TWO, image_size=32).network.state_dict(), tmp_path / "vgg.pt")

    with pytest.raises(ValueError, match=r"does not fit this network: \d+ tensors are missing or of another shape"):
        ResNet50(TWO, image_size=32, weights=str(tmp_path / "vgg.pt"))


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="model.weights=V9 is neither a file nor one of IMAGENET1K_V1, IMAGENET1K_V2"):
        ResNet50(TWO, image_size=224, weights="V9")


def test_without_network_a_download_is_refused_in_a_sentence(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)

    with pytest.raises(
        ValueError, match="IMAGENET1K_V2 of ResNet50 could not be downloaded .* connect to the network, or give a f"
    ):
        ResNet50(TWO, image_size=224, weights="IMAGENET1K_V2")


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="tells two classes or more apart, but the data has"):
        ResNet50(["only"], image_size=32)


def test_images_that_vgg16_would_halve_to_nothing_are_refused():
    with pytest.raises(ValueError, match="VGG16 halves an image five times, but data.image_size=31: give 32 or more"):
        VGG16(TWO, image_size=31)


class Bomb:
    """Touch a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", [ResNet50, VGG16])
def test_a_pickle_as_weights_is_refused(tmp_path, kind):
    torch.save({"state_dict": Bomb(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(ValueError, match="weights.pt holds something else than weights .UnpicklingError.: give anoth"):
        kind(TWO, 32, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()
