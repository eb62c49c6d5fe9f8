"""The random states that a training draws on: those of Python, numpy, and torch on each kind of device."""

import random
from typing import Any

import numpy as np
import torch


def get_rng_states() -> dict[str, Any]:
    """Return all states as plain values and tensors, which a checkpoint can hold."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - what libraries draw on
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_states(states: dict[str, Any]) -> None:
    """Put all states back; those of a device that is not here are left out."""
    version, numbers, normal = states["python"]
    random.setstate((version, tuple(numbers), normal))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
