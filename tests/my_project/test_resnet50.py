"""ResNet50: stems, pretrained weights, FLOPs and memory."""

import pytest
import torch

from firstlight.run.errors import CheckpointError, ConfigError, DataError
from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.pickles import MaliciousPickle

from my_project.model.resnet50 import ResNet50

CLASSES = ["a", "b"]


@pytest.mark.parametrize(
    ("image_size", "native_size", "kernel_size"),
    [(224, 224, 7), (32, 32, 3), (64, 64, 3), (96, 96, 7), (32, 8, 7)],
    ids=["photos", "CIFAR-10", "64 px", "96 px", "enlarged digits"],
)
def test_stem_is_chosen_by_image_size(image_size, native_size, kernel_size):
    model = ResNet50(CLASSES, image_size, native_size)

    assert (kernel_size, kernel_size) == model.network.conv1.kernel_size


@pytest.mark.parametrize("image_size", [32, 64])
def test_small_images_are_classified(image_size):
    images = torch.rand(2, 3, image_size, image_size)

    assert tuple(ResNet50(CLASSES, image_size)(images).shape) == (2, 2)


def test_weights_except_head_are_loaded_from_file(tmp_path):
    torch.manual_seed(0)
    pretrained = ResNet50(["a", "b", "c"], image_size=32)
    torch.save(pretrained.network.state_dict(), tmp_path / "weights.pt")
    model = ResNet50(CLASSES, image_size=32, weights=str(tmp_path / "weights.pt"))
    loaded, expected = model.network.state_dict(), pretrained.network.state_dict()

    assert all(torch.equal(loaded[name], expected[name]) for name in loaded if not name.startswith("fc."))


def test_pickle_is_rejected(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(CheckpointError, match="weights.pt is not a state dict or checkpoint .UnpicklingError."):
        ResNet50(CLASSES, 32, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_weights_are_loaded_by_name(monkeypatch):
    state = ResNet50(CLASSES, image_size=224).network.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: dict(state))
    model = ResNet50(CLASSES, image_size=224, weights="IMAGENET1K_V2")

    assert torch.equal(state["layer4.2.conv3.weight"], model.network.state_dict()["layer4.2.conv3.weight"])


def test_unknown_weights_are_rejected():
    with pytest.raises(ConfigError, match="Unknown model.weights 'V9'. Available: IMAGENET1K_V1, IMAGENET1K_V2"):
        ResNet50(CLASSES, image_size=224, weights="V9")


def test_failed_download_is_reported(monkeypatch):
    def raise_unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", raise_unreachable)

    with pytest.raises(CheckpointError, match="Could not download model.weights=IMAGENET1K_V2 for ResNet50"):
        ResNet50(CLASSES, image_size=224, weights="IMAGENET1K_V2")


def test_weights_of_other_network_are_rejected(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")

    with pytest.raises(CheckpointError, match=r"is incompatible with this network: \d+ of \d+ tensors are missing or"):
        ResNet50(CLASSES, image_size=32, weights=str(tmp_path / "linear.pt"))


def test_single_class_is_rejected():
    with pytest.raises(DataError, match="A classifier requires at least two classes, got .'only'."):
        ResNet50(["only"], image_size=32)


def test_flops_equal_published_number():
    check_flops(ResNet50(CLASSES, image_size=224), torch.empty(4, 3, 224, 224), 24.29)


def test_dry_run_for_mps_finds_nothing():
    assert run_dry_run(*build_cached("resnet50"), "32-true").findings == []


@pytest.mark.slow
def test_memory_estimate_matches_measurement():
    check_memory(["model=resnet50", "data=fake_images", "data.image_size=224", "data.batch_size=128"], 10.41)


def test_benchmark_workload_has_batch_size_128():
    check_workload("resnet50", 128)
