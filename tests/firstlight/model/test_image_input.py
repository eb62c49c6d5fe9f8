"""A model states the normalization and the size of its images, and every part of the engine uses them."""

import pytest
import torch

from firstlight import build
from firstlight.config.instantiate import instantiate
from firstlight.data.normalization import IMAGENET_MEAN, denormalize_to_uint8, normalize
from firstlight.export.source import describe_image_inputs
from firstlight.model.image_input import apply_image_input
from firstlight.run.errors import ConfigError
from support.tiny_models import TinyImages

FAKE_IMAGES = {"_target_": "firstlight.data.fake_images.FakeImageDataModule", "image_size": 8, "num_classes": 2}
MEAN, STD = [0.5, 0.4, 0.3], [0.1, 0.2, 0.3]


@pytest.fixture
def data():
    return instantiate(FAKE_IMAGES)


@pytest.fixture
def model():
    return TinyImages(["a", "b"], image_size=8)


def test_values_of_model_win(model, data):
    model.input_mean, model.input_std = MEAN, STD
    apply_image_input(model, data)

    assert (list(data.mean), list(data.std)) == (MEAN, STD)
    assert describe_image_inputs(data).preprocessing["mean"] == MEAN
    assert describe_image_inputs(data).preprocessing["std"] == STD


def test_model_without_values_gets_those_of_imagenet(model, data):
    apply_image_input(model, data)

    assert data.mean == IMAGENET_MEAN


def test_other_size_is_rejected(model, data):
    model.input_size = 16

    with pytest.raises(ConfigError, match="data.image_size: expected 16, the input size of TinyImages, got 8. Set"):
        apply_image_input(model, data)


def test_plots_undo_normalization():
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)

    assert torch.equal(
        images, denormalize_to_uint8(normalize(images, tuple(MEAN), tuple(STD)), tuple(MEAN), tuple(STD))
    )


def test_build_connects_model_and_data(compose_cfg):
    cfg = compose_cfg("model=torchvision", "model.name=googlenet", "data=fake_images", "logger=none", "trainer=cpu")
    _, data, _ = build.build(cfg)

    assert data.mean == (0.5, 0.5, 0.5)
