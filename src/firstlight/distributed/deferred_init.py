"""Initialize a network only after it was divided among devices, for networks that no device can hold."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.run.errors import ConfigError

IS_DEFERRED: ContextVar[bool] = ContextVar("is_deferred", default=False)


@contextmanager
def defer_initialization(enabled: bool) -> Iterator[None]:
    """Let models that support it build their network on the meta device, without memory for its weights."""
    token = IS_DEFERRED.set(enabled)
    try:
        yield
    finally:
        IS_DEFERRED.reset(token)


def build_on_meta_if_deferred() -> AbstractContextManager[Any]:
    """Return the context in which a network of transformers is built from its config."""
    return torch.device("meta") if IS_DEFERRED.get() else nullcontext()


def has_meta_tensors(network: nn.Module) -> bool:
    """Return True if a network has weights without memory."""
    return any(param.is_meta for param in network.parameters())


class Materializer:
    """Give the modules of a network memory and initial values one by one, in the order of `nn.Module.apply`.

    With the same random numbers, the values equal a network that is built on the device at once.

    Args:
        network: A network of transformers on the meta device, whose `_initialize_weights` initializes one module.
        device: Device of the weights.
    """

    def __init__(self, network: Any, device: str) -> None:
        self.network = network
        self.device = device
        self.pending = list_postorder(network)
        # Parameters and buffers on the meta device -> their values; modules can share them.
        self.created: dict[Tensor, Tensor] = {}

    def initialize(self, modules: list[nn.Module]) -> None:
        """Initialize all modules up to the last one of these.

        Raises:
            ConfigError: If the network leaves a tensor of these modules uninitialized.
        """
        finished = False
        while not finished:
            current = self.pending.pop(0)
            self._materialize(current)
            with torch.no_grad():
                self.network._initialize_weights(current)
            finished = current is modules[-1]
        for module in modules:
            self._validate(module)

    def _materialize(self, module: nn.Module) -> None:
        """Replace the tensors of a module, but not of its submodules."""
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_meta:
                    if tensor not in self.created:
                        self.created[tensor] = create_uninitialized(tensor, self.device)
                    tensors[name] = self.created[tensor]  # type: ignore[assignment]

    def _validate(self, module: nn.Module) -> None:
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_meta and not hasattr(tensor, "device_mesh") and is_uninitialized(tensor):
                raise ConfigError(
                    f"transformers does not initialize {name} of {type(self.network).__name__} after sharding. Use "
                    "trainer=ddp, or start from weights with model.weights."
                )


def list_postorder(module: nn.Module) -> list[nn.Module]:
    """Return all submodules of a module before the module itself, in the order of `nn.Module.apply`."""
    modules = [submodule for child in module.children() for submodule in list_postorder(child)]
    return list(dict.fromkeys([*modules, module]))


def create_uninitialized(tensor: Tensor, device: str) -> Tensor:
    """Return a tensor like one on the meta device, filled with a value that no initialization produces."""
    filled = torch.full_like(tensor, get_sentinel(tensor), device=device)
    return nn.Parameter(filled, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else filled


def get_sentinel(tensor: Tensor) -> Any:
    """Return NaN, or the smallest integer of a type; False for booleans, which cannot be checked."""
    if tensor.dtype == torch.bool:
        return False
    return float("nan") if tensor.is_floating_point() or tensor.is_complex() else torch.iinfo(tensor.dtype).min


def is_uninitialized(tensor: Tensor) -> bool:
    """Return True if an element of a tensor has the value of `create_uninitialized`."""
    if tensor.dtype == torch.bool:
        return False
    sentinel = get_sentinel(tensor)
    is_nan = sentinel != sentinel
    return bool((tensor.isnan() if is_nan else tensor == sentinel).any())
