"""Arithmetic of a sample, counted on shapes."""

import pytest
import torch

from firstlight import build
from firstlight.config.instantiate import locate
from firstlight.model.flops import flops, on_meta
from support.choices import a_model, tiny

IMAGES = torch.empty(4, 3, 224, 224)
TEXTS = {name: torch.ones(4, 128, dtype=torch.int64) for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(
    ("name", "settings", "inputs", "training"),
    [
        ("resnet50.ResNet50", {"image_size": 224}, IMAGES, 24.29),
        ("vgg16.VGG16", {"image_size": 224, "batch_norm": False}, IMAGES, 92.6),
        ("bert.Bert", {"weights": None, "config": {"vocab_size": 30522}}, TEXTS, 67.05),
    ],
    ids=["resnet50", "vgg16", "bert"],
)
def test_they_are_the_published_ones(name, settings, inputs, training):
    model = locate(f"my_project.model.{name}")(["a", "b"], **settings)

    assert flops(model, inputs) / 1e9 == pytest.approx(training, rel=2e-3)
    assert flops(model, inputs, training=False) / 1e9 == pytest.approx(training / 3, rel=0.02)


def test_statistics_of_all_devices_count_like_those_of_one(composed):
    model, data, _ = build.build(composed(*tiny(a_model("images")), "callbacks=none"))
    images = torch.empty(4, 3, data.image_size, data.image_size)
    expected = flops(model, images)

    assert flops(torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), images) == expected > 0


def test_a_copy_has_shapes_only_and_the_model_stays_as_it_is(composed):
    model, data, trainer = build.build(composed(*tiny(a_model("images")), "callbacks=none"))
    trainer.fit(model, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    twin = on_meta(model)
    flops(model, torch.empty(4, 3, data.image_size, data.image_size))

    assert all(each.is_meta for each in twin.parameters())
    assert model.trainer is trainer
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
