"""The emulated device computes what the CPU computes, and refuses what a Mac refuses."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from firstlight.mps.rules import varies

sys.path.insert(0, str(Path(__file__).parents[1]))
from emulator import Seen

MPS = torch.device("mps")
seen = Seen()


def number(*shape: int, requires_grad: bool = False) -> torch.Tensor:
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
    "indices": lambda x: x[:, torch.tensor([2, 0])][x.new_tensor([0], dtype=torch.long)],
    "index put": lambda x: x.clone().index_put_((torch.tensor([0, 1]),), x.new_tensor(7.0)),
    "gather and scatter": lambda x: x.scatter(1, x.argsort(1), x).gather(1, x.argmax(1, keepdim=True)),
    "sort": lambda x: x.sort(-1).values + x.topk(3, -1).values.sum(),
    "cat and split": lambda x: torch.cat([*x.chunk(2, -1), x.roll(1, 0)], -1),
    "views": lambda x: x.permute(2, 0, 1).reshape(-1, 2).flip(0).unfold(0, 3, 2).contiguous(),
    "cumulative": lambda x: x.cumsum(-1) + x.cumprod(0),
    "padding": lambda x: functional.pad(x, (1, 2), value=3.0),
    "types": lambda x: x.half().float() + x.to(torch.bfloat16).float() + (x > 0).long(),
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
    "convolution of sequences": (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "transposed convolution": (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), (2, 3, 5, 5)),
    "transposed convolution of sequences": (nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 5)),
    "batch norm": (nn.BatchNorm2d(3), (4, 3, 5, 5)),
    "layer norm": (nn.LayerNorm(6), (2, 4, 6)),
    "group norm": (nn.GroupNorm(2, 4), (2, 4, 5, 5)),
    "max pooling": (nn.MaxPool2d(3, 2, 1), (2, 3, 9, 9)),
    "mean pooling": (nn.AvgPool2d(2), (2, 3, 8, 8)),
    "adaptive pooling": (nn.AdaptiveAvgPool2d(2), (2, 3, 8, 8)),
    "activations": (nn.Sequential(nn.ReLU(), nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Sigmoid(), nn.Mish()), (2, 6)),
    "enlargement": (nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 4)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 5, 8)),
    "recurrent": (nn.GRUCell(6, 4), (3, 6)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_what_the_cpu_gives(name):
    x = number(2, 6, 6)
    ours = OPERATORS[name](x.to(MPS))

    assert ours.device.type == "mps"
    torch.testing.assert_close(OPERATORS[name](x), ours.cpu(), rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_gradients_are_those_of_the_cpu(name):
    layer, shape = LAYERS[name]
    results = []
    for device in ("cpu", MPS):
        x = number(*shape).to(device).requires_grad_()
        own = copy.deepcopy(layer).to(device)
        y = own(x)
        y.square().sum().backward()
        results.append([y.detach().cpu(), x.grad.cpu(), *(each.grad.cpu() for each in own.parameters())])

    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(expected, ours, rtol=1e-5, atol=1e-5)


def network() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 16, 16), nn.LayerNorm(16), nn.Linear(16, 4))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_steps_lead_to_the_weights_of_the_cpu(optimizer, fused, dtype):
    weights = []
    for device in ("cpu", "mps"):
        model = network().to(device)
        steps = optimizer(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
        for seed in range(5):
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).to(device)
            # Half precision as in mixed training, but written out: autocast has other lists for the two devices.
            low = [x.to(dtype).float(), model[0].weight.to(dtype).float()] if dtype else [x, model[0].weight]
            loss = functional.cross_entropy(model(low[0]), torch.arange(8, device=device) % 4) + low[1].sum() * 1e-3
            scaler.scale(loss).backward()
            scaler.step(steps)
            scaler.update()
            steps.zero_grad()
        weights.append([each.detach().cpu() for each in model.state_dict().values()])

    for expected, ours in zip(*weights, strict=True):
        torch.testing.assert_close(expected, ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_mps_normalises_in_32_bits(dtype):
    x = number(2, 3, 8, 8).to(MPS)
    with torch.autocast("mps", dtype):
        convolved = nn.Conv2d(3, 4, 3).to(MPS)(x)
        normalised = nn.BatchNorm2d(4).to(MPS)(convolved)

    assert (dtype, torch.float32) == (convolved.dtype, normalised.dtype)


# ---------------------------------------------------------------- refusals, with a Mac's words


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, dtype=torch.float64, device=MPS),
        lambda: torch.zeros(2, device=MPS).double(),
        lambda: torch.zeros(2, dtype=torch.float64).to(MPS),
        lambda: torch.tensor(1.0, dtype=torch.float64).to(MPS),
        lambda: torch.arange(3, dtype=torch.float64, device=MPS),
        lambda: torch.zeros(2, device=MPS).sum(dtype=torch.float64),
    ],
)
def test_float64_is_refused(make):
    with pytest.raises(TypeError, match="MPS framework doesn't support float64. Please use float32 instead."):
        make()


def test_an_operator_without_a_kernel_is_refused():
    text = "The operator 'aten::linalg_eig' is not currently implemented for the MPS device. If you want this op"
    with pytest.raises(NotImplementedError, match=text):
        torch.linalg.eig(torch.eye(2, device=MPS))


def test_an_operator_without_a_kernel_moves_to_the_cpu_if_the_user_says_so(monkeypatch):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    with pytest.warns(
        UserWarning, match="'aten::fractional_max_pool2d.output' is not .* will fall back to run on the CPU"
    ):
        pooled = functional.fractional_max_pool2d(torch.ones(1, 1, 8, 8, device=MPS), 2, output_size=4)

    assert pooled.shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("size", "to", "text"),
    [
        (10, 7, "input sizes must be divisible by output sizes. Non-divisible input sizes are not implemented"),
        (3, 7, "output sizes must be divisible by input sizes"),
        (14, 7, None),
        (1, 7, None),
    ],
)
def test_adaptive_pooling_wants_sizes_that_divide(size, to, text):
    maps = torch.ones(1, 1, size, size, device=MPS)
    if text is None:
        assert functional.adaptive_avg_pool2d(maps, to).sum() == to * to
        return

    with pytest.raises(RuntimeError, match=f"Adaptive pool MPS: {text}"):
        functional.adaptive_avg_pool2d(maps, to)


def grown(*shape: int) -> torch.Tensor:
    return number(*shape).to(MPS).requires_grad_()


INDEX = torch.tensor([0, 0, 1], device=MPS)
# What the documentation of torch.use_deterministic_algorithms names for MPS, but interpolation, which it takes apart.
VARYING = {
    "max_pool2d_backward": lambda: functional.max_pool2d(grown(1, 1, 4, 4), 2).sum().backward(),
    "max_pool3d_with_indices_backward": lambda: functional.max_pool3d(grown(1, 1, 4, 4, 4), 2).sum().backward(),
    "avg_pool3d_backward": lambda: functional.avg_pool3d(grown(1, 1, 4, 4, 4), 2).sum().backward(),
    "embedding_dense_backward": lambda: nn.Embedding(5, 3).to(MPS)(INDEX).sum().backward(),
    "_embedding_bag": lambda: nn.EmbeddingBag(5, 3).to(MPS)(INDEX[None]).sum().backward(),
    "grid_sampler_2d_backward": lambda: (
        functional.grid_sample(grown(1, 1, 4, 4), torch.zeros(1, 2, 2, 2, device=MPS), align_corners=False)
        .sum()
        .backward()
    ),
    "_index_put_impl_": lambda: torch.zeros(3, device=MPS).index_put_((INDEX,), torch.ones(3, device=MPS), True),
    "index_reduce": lambda: torch.zeros(3, device=MPS).index_reduce(0, INDEX, torch.ones(3, device=MPS), "mean"),
    "scatter_reduce": lambda: torch.zeros(3, device=MPS).scatter_reduce(0, INDEX, torch.ones(3, device=MPS), "sum"),
    "kthvalue": lambda: torch.arange(4.0, device=MPS).kthvalue(2),
}
ALIKE = {
    "whole numbers": lambda: torch.zeros(3, device=MPS).long().index_put_((INDEX,), torch.ones_like(INDEX), True),
    "a maximum": lambda: torch.zeros(3, device=MPS).index_reduce(0, INDEX, torch.ones(3, device=MPS), "amax"),
}


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", VARYING)
def test_what_varies_is_refused_on_request(name, deterministic):
    text = f"{name}.* does not have a deterministic implementation"
    with pytest.raises(RuntimeError, match=text):
        VARYING[name]()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with pytest.warns(UserWarning, match=text):
        VARYING[name]()


@pytest.mark.parametrize("name", VARYING)
def test_the_rules_of_preflight_name_the_same(name):
    called = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(varies(func.name(), args))
            return func(*args, **(kwargs or {}))

    with Watch():
        VARYING[name]()
        varied = any(called)
        called.clear()
        for run in ALIKE.values():
            run()

    assert varied
    assert not any(called)


@pytest.mark.parametrize("name", ALIKE)
def test_what_does_not_vary_is_not_refused(name, deterministic):
    ALIKE[name]()


def test_tensors_of_two_devices_do_not_meet():
    with pytest.raises(RuntimeError, match="found at least two devices, mps:0 and cpu!"):
        torch.ones(3, device=MPS) + torch.ones(3)


# ---------------------------------------------------------------- dispatch, memory, random numbers


def test_layers_take_the_entries_of_mps():
    before = {name: seen.count(name) for name in ("linear", "linear_backward", "max_pool2d", "max_pool2d_backward")}
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)).to(MPS)
    model(number(1, 1, 4, 4, requires_grad=True).to(MPS)).sum().backward()

    assert {name: count + 1 for name, count in before.items()} == {name: seen.count(name) for name in before}
    assert not {"addmm", "max_pool2d_with_indices"} & seen.operators()


def test_convolutions_take_the_entries_of_mps():
    nn.Conv2d(1, 1, 2).to(MPS)(number(1, 1, 4, 4).to(MPS)).sum().backward()

    assert {"_mps_convolution", "mps_convolution_backward"} <= seen.operators()


def test_attention_has_a_kernel_of_its_own_without_gradients_only():
    name = "_scaled_dot_product_attention_math_for_mps"
    query = number(1, 2, 4, 8).to(MPS).requires_grad_()
    before = seen.count(name)
    with_gradients = functional.scaled_dot_product_attention(query, query, query)
    between = seen.count(name)
    with torch.no_grad():
        without = functional.scaled_dot_product_attention(query, query, query)

    assert (before, before + 1) == (between, seen.count(name))
    torch.testing.assert_close(with_gradients, without)


def test_a_boolean_mask_hides_keys_with_and_without_gradients():
    query = number(1, 2, 4, 8)
    mask = torch.tensor([[[[True, True, False, True]]]])
    expected = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    query, mask = query.to(MPS).requires_grad_(), mask.to(MPS)
    with torch.no_grad():
        without = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    torch.testing.assert_close(expected, without.cpu())
    ours = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    torch.testing.assert_close(expected, ours.detach().cpu())


def test_memory_is_counted_to_the_byte():
    start = seen.live()
    seen.reset_peak()
    one = torch.empty(1000, device=MPS)
    two = one + 1
    view = two[10:]
    del one, two

    assert (start + 4000, start + 8000) == (seen.live(), seen.peak())
    assert seen.live() == torch.mps.current_allocated_memory()
    del view
    assert start == seen.live()


def test_too_much_memory_is_refused_and_nothing_is_lost():
    start = seen.live()
    fraction = (start + 2**20) / torch.mps.recommended_max_memory()
    torch.mps.set_per_process_memory_fraction(fraction)
    try:
        with pytest.raises(
            RuntimeError, match=r"MPS backend out of memory \(MPS allocated: .*Tried to allocate 4.00 MiB"
        ):
            torch.empty(2**20, device=MPS)
    finally:
        torch.mps.set_per_process_memory_fraction(1.0)

    assert start == seen.live()
    assert torch.empty(2**20, device=MPS).sum() is not None


def test_random_numbers_come_from_a_generator_of_its_own():
    torch.manual_seed(3)
    on_cpu = torch.rand(4)
    torch.manual_seed(3)
    torch.rand(2, device=MPS)
    functional.dropout(torch.ones(8, device=MPS), 0.5)
    torch.nn.init.normal_(torch.empty(3, device=MPS))

    assert torch.equal(on_cpu, torch.rand(4))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(4, device=MPS),
        lambda: torch.randn(4, device=MPS),
        lambda: torch.randint(9, (4,), device=MPS),
        lambda: torch.randperm(9, device=MPS),
        lambda: functional.dropout(torch.ones(32, device=MPS), 0.5),
        lambda: torch.ones(32, device=MPS).multinomial(4),
    ],
)
def test_a_random_state_comes_back(draw):
    torch.manual_seed(3)
    state = torch.mps.get_rng_state()
    first, second = draw(), draw()
    torch.mps.set_rng_state(state)

    assert torch.equal(first, draw())
    assert not torch.equal(first, second)


def test_tensors_are_saved_and_loaded(tmp_path):
    torch.save({"x": torch.arange(6.0, device=MPS)[2:]}, tmp_path / "x.pt")

    assert torch.equal(
        torch.arange(2.0, 6.0), torch.load(tmp_path / "x.pt", map_location="cpu", weights_only=True)["x"]
    )
