"""VGG16: heads, pretrained weights, FLOPs and memory."""

import pytest
import torch

from firstlight import build
from firstlight.run.errors import CheckpointError, ConfigError
from support.emulated_mps import check_memory_estimate, make_mps_overrides, slow_param
from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.pickles import MaliciousPickle

from my_project.model.vgg16 import VGG16

CLASSES = ["a", "b"]


def test_small_images_get_small_head():
    assert sum(param.numel() for param in VGG16(CLASSES, image_size=32).parameters()) < 15e6


@pytest.mark.parametrize("image_size", [32, 64])
def test_small_images_are_classified(image_size):
    images = torch.rand(2, 3, image_size, image_size)

    assert tuple(VGG16(CLASSES, image_size)(images).shape) == (2, 2)


def test_weights_except_head_are_loaded_from_file(tmp_path):
    torch.manual_seed(0)
    pretrained = VGG16(["a", "b", "c"], image_size=32)
    torch.save(pretrained.network.state_dict(), tmp_path / "weights.pt")
    model = VGG16(CLASSES, image_size=32, weights=str(tmp_path / "weights.pt"))
    loaded, expected = model.network.state_dict(), pretrained.network.state_dict()

    assert all(torch.equal(loaded[name], expected[name]) for name in loaded if not name.startswith("classifier."))


def test_pickle_is_rejected(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(CheckpointError, match="weights.pt is not a state dict or checkpoint .UnpicklingError."):
        VGG16(CLASSES, 32, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_images_below_32_px_are_rejected():
    with pytest.raises(ConfigError, match="Invalid value for data.image_size: expected .* at least 32 .*, got 31"):
        VGG16(CLASSES, image_size=31)


def test_flops_equal_published_number():
    check_flops(VGG16(CLASSES, image_size=224, batch_norm=False), torch.empty(4, 3, 224, 224), 92.6)


def test_dry_run_for_mps_finds_nothing():
    report = run_dry_run(*build_cached("vgg16"), "16-mixed")

    assert report.findings == []
    assert {"aten::linear_backward", "aten::max_pool2d", "aten::max_pool2d_backward"} <= set(
        report.operators["training"]
    )


@pytest.mark.slow
def test_memory_estimate_matches_measurement():
    overrides = ["data=fake_images", "data.image_size=224", "data.batch_size=64", "model.batch_norm=false"]
    check_memory(["model=vgg16", *overrides], 5.69)


def test_benchmark_workload_has_batch_size_64():
    check_workload("vgg16", 64)


@pytest.mark.parametrize(
    ("image_size", "head"),
    [(32, "small"), slow_param(96, "standard"), slow_param(160, "small"), slow_param(224, "standard")],
)
def on_mps_trains_at_any_image_size(compose_cfg, image_size, head):
    overrides = [f"data.image_size={image_size}", f"model.head={head}", "data.batch_size=2", "callbacks=none"]
    overrides += ["trainer.limit_train_batches=1", "optimizer=sgd"]
    model, data, trainer = build.build(compose_cfg(*make_mps_overrides("vgg16"), *overrides))
    trainer.fit(model, data)

    assert trainer.global_step == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [["data.image_size=64", "trainer.precision=bf16-true"], ["optimizer=sgd", "trainer.gradient_clip_val=null"]],
)
def on_mps_memory_estimate_matches_allocations(tmp_path, overrides):
    check_memory_estimate("vgg16", overrides, tmp_path)
