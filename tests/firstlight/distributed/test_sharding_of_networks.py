"""Sharding a network: its initial values, the update of its shards, and how blocks are grouped."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from firstlight.distributed import sharding
from firstlight.distributed.deferred_init import Materializer, build_on_meta_if_deferred, defer_initialization
from firstlight.distributed.sharding import apply_fsdp, clip_shards, group_blocks, replace_by_local_shards
from firstlight.distributed.strategies import ShardedFSDPStrategy
from firstlight.run.errors import ConfigError
from firstlight.trainer.compile import compile_sharded_network

SIZES = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32, "vocab_size": 50}
GPT2_SIZES = {"n_layer": 3, "n_head": 2, "n_embd": 16, "vocab_size": 50}


@pytest.fixture
def mesh():
    """Return a mesh of one rank: all collectives are real, but there is one shard."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def build(architecture, sizes=SIZES, deferred=False):
    """Return a network with random weights of seed 0, or one without memory for its weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    with defer_initialization(deferred), build_on_meta_if_deferred():
        return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(architecture, **sizes))


def initialize_again(network):
    """Initialize a network without the random numbers of the constructors of its layers, which it replaces."""
    for module in network.modules():
        vars(module).pop("_is_hf_initialized", None)
    for tensor in [*network.parameters(), *network.buffers()]:
        vars(tensor).pop("_is_hf_initialized", None)
    torch.manual_seed(0)
    network.initialize_weights()
    return network


def make_layers():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3)))


def to_full(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@pytest.mark.parametrize("min_params", [1, 10**8], ids=["each block", "one group"])
@pytest.mark.parametrize(
    ("architecture", "sizes"), [("electra", SIZES), ("llama", SIZES), ("gpt2", GPT2_SIZES), ("roberta", SIZES)]
)
def test_deferred_network_gets_values_of_its_initialization(mesh, monkeypatch, architecture, sizes, min_params):
    monkeypatch.setattr(sharding, "GROUP_MIN_PARAMS", min_params)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    deferred = build(architecture, sizes, deferred=True)
    assert all(param.is_meta for param in deferred.parameters())

    apply_fsdp(deferred, mesh)

    direct = initialize_again(build(architecture, sizes))
    expected = dict([*direct.named_parameters(), *direct.named_buffers()])
    values = dict([*deferred.named_parameters(), *deferred.named_buffers()])
    assert values.keys() == expected.keys()
    for name, value in values.items():
        torch.testing.assert_close(to_full(value), expected[name], rtol=0, atol=0, msg=name)
    num_sharded = sum(isinstance(module, FSDPModule) for module in deferred.modules())
    assert num_sharded == (4 if min_params == 1 else 1)


def test_tensor_that_is_not_initialized_is_an_error():
    network = build("electra", deferred=True)
    network.electra.embeddings.register_parameter("gain", nn.Parameter(torch.empty(2, device="meta")))

    with pytest.raises(
        ConfigError, match="does not initialize electra.embeddings.gain of ElectraForSequenceClassification"
    ):
        Materializer(network, "cpu").initialize([network])


@pytest.mark.parametrize(("name", "kwargs"), [("AdamW", {}), ("SGD", {"momentum": 0.9}), ("Adam", {"fused": True})])
def test_update_of_local_shards_equals_update_of_dtensors(mesh, name, kwargs):
    networks = [make_layers(), make_layers()]
    for network in networks:
        apply_fsdp(network, mesh)
    optimizers = [getattr(torch.optim, name)(network.parameters(), lr=0.1, **kwargs) for network in networks]
    for _ in range(3):
        for network, optimizer in zip(networks, optimizers, strict=True):
            for index, param in enumerate(network.parameters()):
                param.grad = torch.ones_like(param) * (index + 1)
            if network is networks[0]:
                with replace_by_local_shards(optimizer):
                    optimizer.step()
            else:
                optimizer.step()

    for param, expected in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(param.full_tensor(), expected.full_tensor())
        state, expected_state = optimizers[0].state[param], optimizers[1].state[expected]
        assert {key: type(value) for key, value in state.items()} == {
            key: type(value) for key, value in expected_state.items()
        }
        for key, value in state.items():
            torch.testing.assert_close(to_full(value), to_full(expected_state[key]), rtol=0, atol=0)


def test_hooks_before_the_update_have_the_gradients_of_all_ranks(mesh):
    network = make_layers()
    apply_fsdp(network, mesh)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    before = [param.full_tensor().clone() for param in network.parameters()]
    seen = []

    def wrap_closure(model, optimizer, closure):
        """Run the closure, and then the hooks and the clipping, like the precision plugin."""
        closure()
        seen.extend(type(param.grad) for group in optimizer.param_groups for param in group["params"])

    plugin = SimpleNamespace(_wrap_closure=wrap_closure)
    strategy = SimpleNamespace(precision_plugin=plugin, lightning_module=network)
    ShardedFSDPStrategy.optimizer_step(strategy, optimizer, lambda: network(torch.ones(2, 4)).sum().backward())

    assert seen == [DTensor] * len(before)
    assert all(isinstance(param.grad, DTensor) for param in network.parameters())
    for param, old in zip(network.parameters(), before, strict=True):
        assert not torch.equal(param.full_tensor(), old)


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_clipping_of_shards_equals_clipping_of_whole_gradients(mesh, max_norm):
    plain, sharded = make_layers(), make_layers()
    apply_fsdp(sharded, mesh)
    for param, shard in zip(plain.parameters(), sharded.parameters(), strict=True):
        param.grad = torch.randn_like(param)
        shard.grad = DTensor.from_local(param.grad.clone(), mesh, shard.placements)

    clip_shards(sharded.parameters(), max_norm)
    nn.utils.clip_grad_norm_(plain.parameters(), max_norm)

    for param, shard in zip(plain.parameters(), sharded.parameters(), strict=True):
        torch.testing.assert_close(shard.grad.full_tensor(), param.grad)


def test_bf16_gathers_half_the_bytes_and_keeps_float32_weights(mesh):
    network = build("electra")
    dtypes = []
    network.classifier.dense.register_forward_pre_hook(lambda module, args: dtypes.append(module.weight.dtype))

    apply_fsdp(network, mesh, "bf16-mixed")
    network(input_ids=torch.ones(2, 4, dtype=torch.long)).logits.sum().backward()

    assert dtypes == [torch.bfloat16]
    assert {param.dtype for param in network.parameters()} == {torch.float32}
    assert {param.grad.dtype for param in network.parameters()} == {torch.float32}


def test_batch_norm_is_gathered_in_float32(mesh):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    expected = copy.deepcopy(network)

    apply_fsdp(network, mesh, "bf16-mixed")

    images = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(network(images), expected(images))


def test_blocks_are_grouped_until_they_have_enough_parameters(monkeypatch):
    blocks = list(make_layers()) * 2  # 40 parameters each
    monkeypatch.setattr(sharding, "GROUP_MIN_PARAMS", 80)
    assert [len(group) for group in group_blocks(blocks)] == [2, 2, 2]
    monkeypatch.setattr(sharding, "GROUP_MIN_PARAMS", 1)
    assert [len(group) for group in group_blocks(blocks)] == [1] * 6


@pytest.mark.parametrize("min_params", [1, 10**8], ids=["each block", "one group"])
def test_compilation_leaves_the_hooks_that_gather_outside(mesh, monkeypatch, min_params):
    monkeypatch.setattr(sharding, "GROUP_MIN_PARAMS", min_params)
    network = build("electra")
    apply_fsdp(network, mesh)
    compiled = []

    def fake_compile(forward, mode):
        compiled.append((forward.__self__, mode))
        return forward

    monkeypatch.setattr(torch, "compile", fake_compile)
    compile_sharded_network(network, "reduce-overhead")  # CUDA graphs would need fixed addresses

    units = list(network.electra.encoder.layer) if min_params == 1 else [network]
    assert compiled == [(unit, "default") for unit in units]
    assert network._compiled_call_impl is None
