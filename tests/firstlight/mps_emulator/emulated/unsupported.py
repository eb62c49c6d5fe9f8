"""The emulated device raises the same errors as a Mac."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from firstlight.mps.rules import is_nondeterministic

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import EmulatorStats

MPS = torch.device("mps")
stats = EmulatorStats()


def make_tensor(*shape: int, requires_grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator).requires_grad_(requires_grad)


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
def test_float64_raises(make):
    with pytest.raises(TypeError, match="MPS framework doesn't support float64. Please use float32 instead."):
        make()


def test_operator_without_kernel_raises():
    message = "The operator 'aten::linalg_eig' is not currently implemented for the MPS device. If you want this op"
    with pytest.raises(NotImplementedError, match=message):
        torch.linalg.eig(torch.eye(2, device=MPS))


def test_fallback_to_cpu_can_be_enabled(monkeypatch):
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    with pytest.warns(
        UserWarning, match="'aten::fractional_max_pool2d.output' is not .* will fall back to run on the CPU"
    ):
        pooled = functional.fractional_max_pool2d(torch.ones(1, 1, 8, 8, device=MPS), 2, output_size=4)

    assert pooled.shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("size", "output_size", "message"),
    [
        (10, 7, "input sizes must be divisible by output sizes. Non-divisible input sizes are not implemented"),
        (3, 7, "output sizes must be divisible by input sizes"),
        (14, 7, None),
        (1, 7, None),
    ],
)
def test_adaptive_pooling_requires_divisible_sizes(size, output_size, message):
    maps = torch.ones(1, 1, size, size, device=MPS)
    if message is None:
        assert functional.adaptive_avg_pool2d(maps, output_size).sum() == output_size**2
        return

    with pytest.raises(RuntimeError, match=f"Adaptive pool MPS: {message}"):
        functional.adaptive_avg_pool2d(maps, output_size)


def make_leaf(*shape: int) -> torch.Tensor:
    return make_tensor(*shape).to(MPS).requires_grad_()


INDEX = torch.tensor([0, 0, 1], device=MPS)
# Operators that the documentation of torch.use_deterministic_algorithms lists for MPS, except interpolation, which is
# decomposed.
NONDETERMINISTIC = {
    "max_pool2d_backward": lambda: functional.max_pool2d(make_leaf(1, 1, 4, 4), 2).sum().backward(),
    "max_pool3d_with_indices_backward": lambda: functional.max_pool3d(make_leaf(1, 1, 4, 4, 4), 2).sum().backward(),
    "avg_pool3d_backward": lambda: functional.avg_pool3d(make_leaf(1, 1, 4, 4, 4), 2).sum().backward(),
    "embedding_dense_backward": lambda: nn.Embedding(5, 3).to(MPS)(INDEX).sum().backward(),
    "_embedding_bag": lambda: nn.EmbeddingBag(5, 3).to(MPS)(INDEX[None]).sum().backward(),
    "grid_sampler_2d_backward": lambda: (
        functional.grid_sample(make_leaf(1, 1, 4, 4), torch.zeros(1, 2, 2, 2, device=MPS), align_corners=False)
        .sum()
        .backward()
    ),
    "_index_put_impl_": lambda: torch.zeros(3, device=MPS).index_put_((INDEX,), torch.ones(3, device=MPS), True),
    "index_reduce": lambda: torch.zeros(3, device=MPS).index_reduce(0, INDEX, torch.ones(3, device=MPS), "mean"),
    "scatter_reduce": lambda: torch.zeros(3, device=MPS).scatter_reduce(0, INDEX, torch.ones(3, device=MPS), "sum"),
    "kthvalue": lambda: torch.arange(4.0, device=MPS).kthvalue(2),
}
DETERMINISTIC = {
    "integers": lambda: torch.zeros(3, device=MPS).long().index_put_((INDEX,), torch.ones_like(INDEX), True),
    "maximum": lambda: torch.zeros(3, device=MPS).index_reduce(0, INDEX, torch.ones(3, device=MPS), "amax"),
}


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", NONDETERMINISTIC)
def test_nondeterministic_operator_raises_on_request(name, deterministic):
    message = f"{name}.* does not have a deterministic implementation"
    with pytest.raises(RuntimeError, match=message):
        NONDETERMINISTIC[name]()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with pytest.warns(UserWarning, match=message):
        NONDETERMINISTIC[name]()


@pytest.mark.parametrize("name", NONDETERMINISTIC)
def test_preflight_rules_match_nondeterministic_operators(name):
    results = []

    class RuleRecorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            results.append(is_nondeterministic(func.name(), args))
            return func(*args, **(kwargs or {}))

    with RuleRecorder():
        NONDETERMINISTIC[name]()
        is_reported = any(results)
        results.clear()
        for run in DETERMINISTIC.values():
            run()

    assert is_reported
    assert not any(results)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_operator_does_not_raise(name, deterministic):
    DETERMINISTIC[name]()


def test_mixing_devices_raises():
    with pytest.raises(RuntimeError, match="found at least two devices, mps:0 and cpu!"):
        torch.ones(3, device=MPS) + torch.ones(3)
