"""The emulated device computes the same results as the CPU."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import EmulatorStats

MPS = torch.device("mps")
stats = EmulatorStats()


def make_tensor(*shape: int, requires_grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator).requires_grad_(requires_grad)


OPERATORS = {
    "arithmetic": lambda x: (x * 2 + 1) / (x.abs() + 1) - x.exp().clamp(max=3),
    "in place": lambda x: x.clone().mul_(2).add_(1).relu_(),
    "matrix product": lambda x: x @ x.transpose(-1, -2),
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x),
    "reductions": lambda x: torch.stack([x.sum(), x.mean(), x.max(), x.min(), x.std(), x.norm()]),
    "softmax": lambda x: x.softmax(-1) + x.log_softmax(0),
    "comparison": lambda x: torch.where(x > 0, x, -x).masked_fill(x > 1, 0),
    "indexing": lambda x: x[:, torch.tensor([2, 0])][x.new_tensor([0], dtype=torch.long)],
    "index put": lambda x: x.clone().index_put_((torch.tensor([0, 1]),), x.new_tensor(7.0)),
    "gather and scatter": lambda x: x.scatter(1, x.argsort(1), x).gather(1, x.argmax(1, keepdim=True)),
    "sort": lambda x: x.sort(-1).values + x.topk(3, -1).values.sum(),
    "cat and split": lambda x: torch.cat([*x.chunk(2, -1), x.roll(1, 0)], -1),
    "views": lambda x: x.permute(2, 0, 1).reshape(-1, 2).flip(0).unfold(0, 3, 2).contiguous(),
    "cumulative": lambda x: x.cumsum(-1) + x.cumprod(0),
    "padding": lambda x: functional.pad(x, (1, 2), value=3.0),
    "dtypes": lambda x: x.half().float() + x.to(torch.bfloat16).float() + (x > 0).long(),
    "new": lambda x: x + torch.arange(x.shape[-1], device=x.device) + torch.full_like(x, 2) + torch.eye(6).to(x),
    "one hot": lambda x: functional.one_hot(x.argmax(-1), 6).float(),
    "repeat": lambda x: x.repeat(2, 1, 1).expand(1, -1, -1, -1).squeeze(0),
    "item": lambda x: x * x.sum().item() * len(x.nonzero()),
    "histogram": lambda x: torch.bincount((x > 0).long().flatten(), minlength=3),
}

LAYERS = {
    "linear": (nn.Linear(6, 3), (2, 4, 6)),
    "linear without bias": (nn.Linear(6, 3, bias=False), (4, 6)),
    "convolution": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 9, 9)),
    "grouped convolution": (nn.Conv2d(4, 8, 3, groups=2, dilation=2, bias=False), (2, 4, 9, 9)),
    "1d convolution": (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "transposed convolution": (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), (2, 3, 5, 5)),
    "1d transposed convolution": (nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 5)),
    "batch norm": (nn.BatchNorm2d(3), (4, 3, 5, 5)),
    "layer norm": (nn.LayerNorm(6), (2, 4, 6)),
    "group norm": (nn.GroupNorm(2, 4), (2, 4, 5, 5)),
    "max pooling": (nn.MaxPool2d(3, 2, 1), (2, 3, 9, 9)),
    "mean pooling": (nn.AvgPool2d(2), (2, 3, 8, 8)),
    "adaptive pooling": (nn.AdaptiveAvgPool2d(2), (2, 3, 8, 8)),
    "activations": (nn.Sequential(nn.ReLU(), nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Sigmoid(), nn.Mish()), (2, 6)),
    "upsampling": (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 4)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 5, 8)),
    "recurrent": (nn.GRUCell(6, 4), (3, 6)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_matches_cpu(name):
    x = make_tensor(2, 6, 6)
    actual = OPERATORS[name](x.to(MPS))

    assert actual.device.type == "mps"
    torch.testing.assert_close(OPERATORS[name](x), actual.cpu(), rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_and_gradients_match_cpu(name):
    layer, shape = LAYERS[name]
    results = []
    for device in ("cpu", MPS):
        x = make_tensor(*shape).to(device).requires_grad_()
        replica = copy.deepcopy(layer).to(device)
        y = replica(x)
        y.square().sum().backward()
        results.append([y.detach().cpu(), x.grad.cpu(), *(param.grad.cpu() for param in replica.parameters())])

    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(expected, actual, rtol=1e-5, atol=1e-5)


def make_network() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 16, 16), nn.LayerNorm(16), nn.Linear(16, 4))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_optimizer_steps_match_cpu(optimizer, fused, dtype):
    weights = []
    for device in ("cpu", "mps"):
        model = make_network().to(device)
        optim = optimizer(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
        for seed in range(5):
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).to(device)
            # Explicit casts as in mixed precision, because autocast uses different operator lists for the two devices.
            rounded = [x.to(dtype).float(), model[0].weight.to(dtype).float()] if dtype else [x, model[0].weight]
            loss = (
                functional.cross_entropy(model(rounded[0]), torch.arange(8, device=device) % 4)
                + rounded[1].sum() * 1e-3
            )
            scaler.scale(loss).backward()
            scaler.step(optim)
            scaler.update()
            optim.zero_grad()
        weights.append([tensor.detach().cpu() for tensor in model.state_dict().values()])

    for expected, actual in zip(*weights, strict=True):
        torch.testing.assert_close(expected, actual, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mps_autocast_normalizes_in_float32(dtype):
    x = make_tensor(2, 3, 8, 8).to(MPS)
    with torch.autocast("mps", dtype):
        convolved = nn.Conv2d(3, 4, 3).to(MPS)(x)
        normalized = nn.BatchNorm2d(4).to(MPS)(convolved)

    assert (dtype, torch.float32) == (convolved.dtype, normalized.dtype)
