"""ResNet50: stems, pretrained weights, and what it takes."""

import pytest
import torch

from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.pickles import MaliciousPickle

from my_project.model.resnet50 import ResNet50

TWO = ["a", "b"]


@pytest.mark.parametrize(
    ("image_size", "native_size", "kernel"),
    [(224, 224, 7), (32, 32, 3), (64, 64, 3), (96, 96, 7), (32, 8, 7)],
    ids=["photos", "CIFAR-10", "64 px", "96 px", "enlarged digits"],
)
def test_the_stem_suits_the_image_size(image_size, native_size, kernel):
    model = ResNet50(TWO, image_size, native_size)

    assert (kernel, kernel) == model.network.conv1.kernel_size


@pytest.mark.parametrize("image_size", [32, 64])
def test_it_reads_small_images(image_size):
    images = torch.rand(2, 3, image_size, image_size)

    assert tuple(ResNet50(TWO, image_size)(images).shape) == (2, 2)


def test_weights_come_from_a_file(tmp_path):
    torch.manual_seed(0)
    trained = ResNet50(["a", "b", "c"], image_size=32)
    torch.save(trained.network.state_dict(), tmp_path / "weights.pt")
    fine_tuned = ResNet50(TWO, image_size=32, weights=str(tmp_path / "weights.pt"))
    ours, theirs = fine_tuned.network.state_dict(), trained.network.state_dict()

    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("fc."))


def test_a_pickle_as_weights_is_refused(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(ValueError, match="weights.pt holds something else than weights .UnpicklingError.: give anoth"):
        ResNet50(TWO, 32, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_weights_come_from_torchvision_by_name(monkeypatch):
    state = ResNet50(TWO, image_size=224).network.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: dict(state))
    model = ResNet50(TWO, image_size=224, weights="IMAGENET1K_V2")

    assert torch.equal(state["layer4.2.conv3.weight"], model.network.state_dict()["layer4.2.conv3.weight"])


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


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")

    with pytest.raises(ValueError, match=r"does not fit this network: \d+ tensors are missing or of another shape"):
        ResNet50(TWO, image_size=32, weights=str(tmp_path / "linear.pt"))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="tells two classes or more apart, but the data has"):
        ResNet50(["only"], image_size=32)


def test_its_arithmetic_is_the_published_one():
    check_flops(ResNet50(TWO, image_size=224), torch.empty(4, 3, 224, 224), 24.29)


def test_mps_has_nothing_against_it():
    assert run_dry_run(*build_cached("resnet50"), "32-true").findings == []


@pytest.mark.slow
def test_a_training_takes_the_memory_that_was_measured():
    check_memory(["model=resnet50", "data=fake_images", "data.image_size=224", "data.batch_size=128"], 10.44)


def test_the_benchmark_trains_it_at_the_batch_size_of_the_announcement():
    check_workload("resnet50", 128)
