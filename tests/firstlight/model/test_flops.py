"""Arithmetic of a sample, counted on shapes."""

import torch

from firstlight import build
from firstlight.model.flops import copy_to_meta, count_flops_per_sample
from support.options import get_tiny_model, make_tiny_overrides
from support.tiny_models import TinyMLP


def test_a_multiplication_and_its_addition_are_two():
    model = TinyMLP(["a", "b"], image_size=2)
    forward = 2 * (12 * 4 + 4 * 2)

    assert count_flops_per_sample(model, torch.empty(4, 3, 2, 2), training=False) == forward
    # Backward, each layer takes as much for its weights, and as much for its inputs where something is learned below.
    assert count_flops_per_sample(model, torch.empty(4, 3, 2, 2)) == 2 * forward + 2 * 4 * 2


def test_statistics_of_all_devices_count_like_those_of_one(compose_cfg):
    model, data, _ = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model("images")), "callbacks=none"))
    images = torch.empty(4, 3, data.image_size, data.image_size)
    expected = count_flops_per_sample(model, images)

    assert count_flops_per_sample(torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), images) == expected > 0


def test_a_copy_has_shapes_only_and_the_model_stays_as_it_is(compose_cfg):
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model("images")), "callbacks=none"))
    trainer.fit(model, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    twin = copy_to_meta(model)
    count_flops_per_sample(model, torch.empty(4, 3, data.image_size, data.image_size))

    assert all(each.is_meta for each in twin.parameters())
    assert model.trainer is trainer
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
