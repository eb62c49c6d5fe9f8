"""A damaged checkpoint is refused in one sentence, or holds what was saved; nothing between."""

import random

import pytest
import torch

from firstlight.checkpoint import io as checkpoint_io
from support.interruption import SignalSender, train_model
from support.tiny_training import OVERRIDES


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the bytes of a checkpoint and what it holds."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    train_model([*OVERRIDES, "model.dropout=0.5", "data.num_samples=16", f"output_dir={folder}"], SignalSender())
    file = folder / "checkpoints" / "last.ckpt"
    return file.read_bytes(), checkpoint_io.load_checkpoint(file)


def damaged(content: bytes, seed: int) -> bytes:
    """Cut off, flip bits of, or blank a part of a file, as a function of a seed."""
    chance = random.Random(seed)
    changed = bytearray(content)
    match chance.choice(["cut", "flip", "flip", "blank"]):
        case "cut":
            del changed[chance.randrange(len(changed)) :]
        case "flip":
            for _ in range(chance.choice([1, 1, 2, 8, 64])):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        case "blank":
            start = chance.randrange(len(changed))
            length = min(chance.choice([16, 512, 4096]), len(changed) - start)
            changed[start : start + length] = bytes(length)
    return bytes(changed)


def same(one, other) -> bool:
    """Say whether two trees of plain values and tensors are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def outcome(file):
    """Return what is read, or why nothing is."""
    try:
        return checkpoint_io.load_checkpoint(file), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_refused_or_whole(saved, tmp_path, first):
    content, whole = saved
    file = tmp_path / "last.ckpt"
    refused = 0
    for seed in range(first, first + 50):
        file.write_bytes(damaged(content, seed))
        found, told = outcome(file)
        refused += found is None
        right = same(whole, found) if found else "last.ckpt" in told and "\n" not in told
        assert right, f"seed {seed}: {told}"

    assert refused > 30
