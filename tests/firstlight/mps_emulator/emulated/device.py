"""Dispatch, memory and random numbers of the emulated device."""

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


def test_layers_call_mps_operators():
    before = {
        name: stats.count_calls(name) for name in ("linear", "linear_backward", "max_pool2d", "max_pool2d_backward")
    }
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)).to(MPS)
    model(make_tensor(1, 1, 4, 4, requires_grad=True).to(MPS)).sum().backward()

    assert {name: count + 1 for name, count in before.items()} == {name: stats.count_calls(name) for name in before}
    assert not {"addmm", "max_pool2d_with_indices"} & stats.get_operators()


def test_convolutions_call_mps_operators():
    nn.Conv2d(1, 1, 2).to(MPS)(make_tensor(1, 1, 4, 4).to(MPS)).sum().backward()

    assert {"_mps_convolution", "mps_convolution_backward"} <= stats.get_operators()


def test_attention_kernel_of_mps_without_gradients_only():
    name = "_scaled_dot_product_attention_math_for_mps"
    query = make_tensor(1, 2, 4, 8).to(MPS).requires_grad_()
    before = stats.count_calls(name)
    with_gradients = functional.scaled_dot_product_attention(query, query, query)
    between = stats.count_calls(name)
    with torch.no_grad():
        without = functional.scaled_dot_product_attention(query, query, query)

    assert (before, before + 1) == (between, stats.count_calls(name))
    torch.testing.assert_close(with_gradients, without)


def test_boolean_attention_mask_with_and_without_gradients():
    query = make_tensor(1, 2, 4, 8)
    mask = torch.tensor([[[[True, True, False, True]]]])
    expected = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    query, mask = query.to(MPS).requires_grad_(), mask.to(MPS)
    with torch.no_grad():
        without = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    torch.testing.assert_close(expected, without.cpu())
    actual = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    torch.testing.assert_close(expected, actual.detach().cpu())


def test_allocated_bytes_are_exact():
    start = stats.get_allocated_bytes()
    stats.reset_peak()
    one = torch.empty(1000, device=MPS)
    two = one + 1
    view = two[10:]
    del one, two

    assert (start + 4000, start + 8000) == (stats.get_allocated_bytes(), stats.get_peak_bytes())
    assert stats.get_allocated_bytes() == torch.mps.current_allocated_memory()
    del view
    assert start == stats.get_allocated_bytes()


def test_allocation_above_limit_raises_without_leak():
    start = stats.get_allocated_bytes()
    fraction = (start + 2**20) / torch.mps.recommended_max_memory()
    torch.mps.set_per_process_memory_fraction(fraction)
    try:
        with pytest.raises(
            RuntimeError, match=r"MPS backend out of memory \(MPS allocated: .*Tried to allocate 4.00 MiB"
        ):
            torch.empty(2**20, device=MPS)
    finally:
        torch.mps.set_per_process_memory_fraction(1.0)

    assert start == stats.get_allocated_bytes()
    assert torch.empty(2**20, device=MPS).sum() is not None


def test_mps_generator_is_separate_from_cpu_generator():
    torch.manual_seed(3)
    on_cpu = torch.rand(4)
    torch.manual_seed(3)
    torch.rand(2, device=MPS)
    functional.dropout(torch.ones(8, device=MPS), 0.5)
    torch.nn.init.normal_(torch.empty(3, device=MPS))

    assert torch.equal(on_cpu, torch.rand(4))


@pytest.mark.parametrize(
    "sample",
    [
        lambda: torch.rand(4, device=MPS),
        lambda: torch.randn(4, device=MPS),
        lambda: torch.randint(9, (4,), device=MPS),
        lambda: torch.randperm(9, device=MPS),
        lambda: functional.dropout(torch.ones(32, device=MPS), 0.5),
        lambda: torch.ones(32, device=MPS).multinomial(4),
    ],
)
def test_rng_state_can_be_restored(sample):
    torch.manual_seed(3)
    state = torch.mps.get_rng_state()
    first, second = sample(), sample()
    torch.mps.set_rng_state(state)

    assert torch.equal(first, sample())
    assert not torch.equal(first, second)


def test_tensors_can_be_saved_and_loaded(tmp_path):
    torch.save({"x": torch.arange(6.0, device=MPS)[2:]}, tmp_path / "x.pt")

    assert torch.equal(
        torch.arange(2.0, 6.0), torch.load(tmp_path / "x.pt", map_location="cpu", weights_only=True)["x"]
    )
