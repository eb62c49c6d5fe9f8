"""VGG16: heads, pretrained weights, and what it takes."""

import pytest
import torch

from firstlight import build
from support.emulated_mps import check_memory_estimate, make_mps_overrides, slow_param
from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.pickles import MaliciousPickle

from my_project.model.vgg16 import VGG16

TWO = ["a", "b"]


def test_small_images_get_a_small_head():
    assert sum(each.numel() for each in VGG16(TWO, image_size=32).parameters()) < 15e6


@pytest.mark.parametrize("image_size", [32, 64])
def test_it_reads_small_images(image_size):
    images = torch.rand(2, 3, image_size, image_size)

    assert tuple(VGG16(TWO, image_size)(images).shape) == (2, 2)


def test_weights_come_from_a_file(tmp_path):
    torch.manual_seed(0)
    trained = VGG16(["a", "b", "c"], image_size=32)
    torch.save(trained.network.state_dict(), tmp_path / "weights.pt")
    fine_tuned = VGG16(TWO, image_size=32, weights=str(tmp_path / "weights.pt"))
    ours, theirs = fine_tuned.network.state_dict(), trained.network.state_dict()

    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("classifier."))


def test_a_pickle_as_weights_is_refused(tmp_path):
    torch.save({"state_dict": MaliciousPickle(tmp_path / "mark")}, tmp_path / "weights.pt")

    with pytest.raises(ValueError, match="weights.pt holds something else than weights .UnpicklingError.: give anoth"):
        VGG16(TWO, 32, weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "mark").exists()


def test_images_that_vgg16_would_halve_to_nothing_are_refused():
    with pytest.raises(ValueError, match="VGG16 halves an image five times, but data.image_size=31: give 32 or more"):
        VGG16(TWO, image_size=31)


def test_its_arithmetic_is_the_published_one():
    check_flops(VGG16(TWO, image_size=224, batch_norm=False), torch.empty(4, 3, 224, 224), 92.6)


def test_mps_has_nothing_against_it():
    report = run_dry_run(*build_cached("vgg16"), "16-mixed")

    assert report.findings == []
    assert {"aten::linear_backward", "aten::max_pool2d", "aten::max_pool2d_backward"} <= set(
        report.operators["training"]
    )


@pytest.mark.slow
def test_a_training_takes_the_memory_that_was_measured():
    words = ["data=fake_images", "data.image_size=224", "data.batch_size=64", "model.batch_norm=false"]
    check_memory(["model=vgg16", *words], 5.75)


def test_the_benchmark_trains_it_at_the_batch_size_of_the_announcement():
    check_workload("vgg16", 64)


@pytest.mark.parametrize(
    ("size", "head"), [(32, "small"), slow_param(96, "standard"), slow_param(160, "small"), slow_param(224, "standard")]
)
def on_mps_it_trains_at_any_size(compose_cfg, size, head):
    words = [f"data.image_size={size}", f"model.head={head}", "data.batch_size=2", "trainer.limit_train_batches=1"]
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides("vgg16"), *words, "callbacks=none", "optimizer=sgd")
    )
    trainer.fit(network, data)

    assert trainer.global_step == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["data.image_size=64", "trainer.precision=bf16-true"], ["optimizer=sgd", "trainer.gradient_clip_val=null"]],
)
def on_mps_its_estimated_memory_is_what_the_device_allocates(tmp_path, words):
    check_memory_estimate("vgg16", words, tmp_path)
