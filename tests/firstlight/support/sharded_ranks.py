"""Run by each of two ranks: compare a network that is sharded across both with the same network in one process.

Usage: python sharded_ranks.py RANK STORE compiled|eager precision
"""

import copy
import json
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from transformers import AutoConfig, AutoModelForSequenceClassification

from firstlight.distributed import sharding
from firstlight.distributed.deferred_init import build_on_meta_if_deferred, defer_initialization
from firstlight.distributed.sharding import apply_fsdp, clip_shards, replace_by_local_shards
from firstlight.model.activation_checkpointing import enable_activation_checkpointing
from firstlight.trainer.compile import compile_sharded_network

SIZES = {
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "hidden_size": 30,  # not divisible by two ranks in each dimension
    "intermediate_size": 33,
    "vocab_size": 51,
    "head_dim": 16,
    "use_cache": False,
    "attention_dropout": 0.0,
    "pad_token_id": 0,
}


def build(deferred):
    with defer_initialization(deferred), build_on_meta_if_deferred():
        return AutoModelForSequenceClassification.from_config(AutoConfig.for_model("llama", **SIZES))


def make_plain_copy(network):
    """Return an unsharded network with the weights of a sharded one, gathered from all ranks."""
    plain = build(deferred=False)
    for name, param in network.named_parameters():
        plain.get_parameter(name).data.copy_(param.full_tensor())
    return plain


def train(network, optimizer, rank, clip, step):
    """Return the losses of three steps; the batch of a rank is its half of the global batch."""
    losses = []
    for seed in range(3):
        torch.manual_seed(seed)
        ids, labels = torch.randint(1, 51, (8, 6)), torch.randint(0, 2, (8,))
        rows = slice(4 * rank, 4 * rank + 4) if rank is not None else slice(None)
        optimizer.zero_grad()
        logits = network(input_ids=ids[rows]).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[rows])
        loss.backward()
        clip(network.parameters())
        step(optimizer)
        losses.append(loss.item())
    return losses


def step_on_shards(optimizer):
    with replace_by_local_shards(optimizer):
        optimizer.step()


def main(rank: int, store: str, mode: str, precision: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    # Each pair of blocks is a group, and is gathered again in the backward pass.
    sharding.GROUP_MIN_PARAMS, sharding.RESHARD_MIN_PARAMS = 10_000, 1
    network = build(deferred=True)
    enable_activation_checkpointing(network)
    apply_fsdp(network, init_device_mesh("cpu", (2,)), precision)
    if mode == "compiled":
        compile_sharded_network(network, "default")
    plain = make_plain_copy(network)
    initial = copy.deepcopy(plain)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-2) for model in (network, plain)]
    losses = train(network, optimizers[0], rank, lambda params: clip_shards(params, 0.5), step_on_shards)
    expected = train(
        plain, optimizers[1], None, lambda params: torch.nn.utils.clip_grad_norm_(params, 0.5), lambda opt: opt.step()
    )
    mean_losses = [None, None]
    dist.all_gather_object(mean_losses, losses)
    result = {
        "num_sharded": sum(isinstance(module, FSDPModule) for module in network.modules()),
        "std": {name: param.std().item() for name, param in initial.named_parameters() if param.ndim == 2},
        "inv_freq_error": (network.model.rotary_emb.inv_freq - initial.model.rotary_emb.inv_freq).abs().max().item(),
        "losses": [sum(pair) / 2 for pair in zip(*mean_losses, strict=True)],
        "expected": expected,
        "max_difference": max(
            (param.full_tensor() - plain.get_parameter(name)).abs().max().item()
            for name, param in network.named_parameters()
        ),
        "checksum": sum(param.double().sum().item() for param in initial.parameters()),
    }
    print(json.dumps(result), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
