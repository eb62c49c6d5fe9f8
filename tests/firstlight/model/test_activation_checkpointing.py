"""Activation checkpointing: the same results as without it, for any LightningModule with repeated blocks."""

import copy

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from firstlight.distributed.repeated_blocks import find_repeated_blocks, find_repeated_layers
from firstlight.model.activation_checkpointing import (
    disable_activation_checkpointing,
    divide_into_segments,
    enable_activation_checkpointing,
)
from firstlight.model.flops import count_flops_per_sample
from firstlight.mps.dry_run import dry_run
from firstlight.run.errors import ConfigError
from support.tiny_training import build_tiny

WIDTH = 8


class Block(nn.Module):
    """A residual block whose second pass must not update running statistics, nor draw other random numbers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs, scale=1.0):
        return inputs + scale * self.dropout(self.layers(inputs))


class Plain(LightningModule):
    """A plain module: blocks in a ModuleList, called with a keyword argument."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, inputs):
        for block in self.blocks:
            inputs = block(inputs, scale=0.5)
        return self.head(inputs)


class Flat(LightningModule):
    """A Sequential of single layers, some of which work in place."""

    def __init__(self):
        super().__init__()
        layers = [(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True)) for _ in range(4)]
        self.layers = nn.Sequential(*(layer for group in layers for layer in group))

    def forward(self, inputs):
        return self.layers(inputs)


def train_two_steps(model):
    """Return the gradients and the buffers after two steps, and the bytes that the second forward pass keeps."""
    num_bytes = 0

    def count(tensor):
        nonlocal num_bytes
        num_bytes += tensor.nbytes
        return tensor

    torch.manual_seed(0)
    for _ in range(2):
        with saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model(torch.randn(16, WIDTH)).square().sum()
        loss.backward()
    gradients = {f"{name}.grad": param.grad for name, param in model.named_parameters()}
    return gradients | dict(model.named_buffers()), num_bytes


@pytest.mark.parametrize("model_class", [Plain, Flat])
def test_gradients_and_buffers_are_equal_to_the_last_bit(model_class):
    torch.manual_seed(0)
    expected = model_class()
    model = copy.deepcopy(expected)
    enable_activation_checkpointing(model)
    assert list(model.state_dict()) == list(expected.state_dict())
    model = copy.deepcopy(model)  # a copy uses its own weights

    values, num_bytes = train_two_steps(model)
    expected_values, expected_bytes = train_two_steps(expected)

    for name, value in values.items():
        assert torch.equal(value, expected_values[name]), name
    assert num_bytes < 0.6 * expected_bytes


def test_flops_do_not_include_the_second_pass():
    model = Plain()
    expected = count_flops_per_sample(model, torch.randn(4, WIDTH))

    enable_activation_checkpointing(model)

    assert count_flops_per_sample(model, torch.randn(4, WIDTH)) == expected


def test_disabling_restores_the_methods():
    model = Plain()
    enable_activation_checkpointing(model)

    disable_activation_checkpointing(model)

    assert all("forward" not in vars(module) for module in model.modules())


def test_evaluation_runs_the_block_once():
    model = Plain().eval()
    enable_activation_checkpointing(model)
    calls = []
    model.blocks[0].dropout.register_forward_hook(lambda *_: calls.append(1))

    with torch.no_grad():
        model(torch.randn(4, WIDTH))

    assert calls == [1]


def test_blocks_are_outermost_and_of_one_class():
    model = Plain()
    model.others = nn.ModuleList([Block(), nn.Linear(2, 2), nn.Linear(2, 2)])  # one block, and layers

    assert find_repeated_blocks(model) == list(model.blocks)
    assert find_repeated_layers(model) == []


def test_no_segment_starts_with_an_in_place_layer():
    segments = divide_into_segments(list(Flat().layers))

    assert [len(segment) for segment in segments] == [4, 5, 3]  # the next layer would be a ReLU in place
    segments = divide_into_segments([nn.Linear(1, 1), nn.ReLU(inplace=True), nn.Linear(1, 1)])
    assert [len(segment) for segment in segments] == [2, 1]
    segments = divide_into_segments([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU(inplace=True), nn.Linear(1, 1)])
    assert [len(segment) for segment in segments] == [3, 1]


def test_model_without_repeated_blocks_is_one_clear_error(compose_cfg):
    message = (
        "trainer.activation_checkpointing=true requires repeated blocks, but Linear has no ModuleList or Sequential "
        "with several modules of one class. Set trainer.activation_checkpointing=false."
    )
    with pytest.raises(ConfigError) as caught:
        enable_activation_checkpointing(nn.Linear(2, 2))
    assert str(caught.value) == message


def test_setting_enables_it(compose_cfg):
    model, _, _, _ = build_tiny(compose_cfg, "trainer.activation_checkpointing=true")

    assert any("forward" in vars(module) for module in model.modules())


def test_dry_run_in_half_precision_repeats_the_forward_pass_with_the_same_casts(compose_cfg):
    model, data, trainer, _ = build_tiny(compose_cfg, "trainer.activation_checkpointing=true")

    report = dry_run(model, data, trainer, "bf16-mixed", deterministic=False)

    assert report.findings == []
    assert report.memory_estimate is not None
