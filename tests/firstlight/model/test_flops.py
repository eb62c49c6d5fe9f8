"""FLOPs per sample, counted on the meta device."""

import torch

from firstlight import build
from firstlight.model.flops import copy_to_meta, count_flops_per_sample
from support.options import get_tiny_model, make_tiny_overrides
from support.tiny_models import TinyMLP


def test_multiply_add_counts_as_two():
    model = TinyMLP(["a", "b"], image_size=2)
    forward = 2 * (12 * 4 + 4 * 2)

    assert count_flops_per_sample(model, torch.empty(4, 3, 2, 2), training=False) == forward
    # In the backward pass, each layer takes the same again for its weights, and for its inputs if a layer before it has
    # weights.
    assert count_flops_per_sample(model, torch.empty(4, 3, 2, 2)) == 2 * forward + 2 * 4 * 2


def test_sync_batchnorm_has_flops_of_batchnorm(compose_cfg):
    model, data, _ = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model("images")), "callbacks=none"))
    images = torch.empty(4, 3, data.image_size, data.image_size)
    expected = count_flops_per_sample(model, images)

    assert count_flops_per_sample(torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), images) == expected > 0


def test_meta_copy_has_no_data_and_leaves_model_unchanged(compose_cfg):
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model("images")), "callbacks=none"))
    trainer.fit(model, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng_state = torch.random.get_rng_state()
    meta_model = copy_to_meta(model)
    count_flops_per_sample(model, torch.empty(4, 3, data.image_size, data.image_size))

    assert all(param.is_meta for param in meta_model.parameters())
    assert model.trainer is trainer
    assert torch.equal(rng_state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
