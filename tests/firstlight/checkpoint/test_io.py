"""A corrupt checkpoint either raises a one-line error or loads without any change."""

import random
from collections import Counter

import pytest
import torch

from firstlight.checkpoint import io as checkpoint_io
from firstlight.run.errors import CheckpointError
from support.interruption import SignalSender, train_model
from support.tiny_training import OVERRIDES


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return the bytes and the contents of a checkpoint."""
    run_dir = tmp_path_factory.mktemp("saved") / "run"
    train_model([*OVERRIDES, "model.dropout=0.5", "data.num_samples=16", f"output_dir={run_dir}"], SignalSender())
    file = run_dir / "checkpoints" / "last.ckpt"
    return file.read_bytes(), checkpoint_io.load_checkpoint(file)


def corrupt_bytes(content: bytes, seed: int) -> bytes:
    """Truncate, flip bits in, or zero a part of the contents of a file, as a function of a seed."""
    rng = random.Random(seed)
    changed = bytearray(content)
    match rng.choice(["truncate", "flip", "flip", "zero"]):
        case "truncate":
            del changed[rng.randrange(len(changed)) :]
        case "flip":
            for _ in range(rng.choice([1, 1, 2, 8, 64])):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        case "zero":
            start = rng.randrange(len(changed))
            length = min(rng.choice([16, 512, 4096]), len(changed) - start)
            changed[start : start + length] = bytes(length)
    return bytes(changed)


def is_equal(first, second) -> bool:
    """Return True if two nested structures of plain values and tensors are bitwise equal."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_equal(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(is_equal, first, second))
    return first == second


def try_load(file):
    """Return the contents of a checkpoint and "", or None and the error message."""
    try:
        return checkpoint_io.load_checkpoint(file), ""
    except CheckpointError as error:
        return None, str(error)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_corrupt_checkpoint_raises_or_loads_unchanged(checkpoint, tmp_path, first):
    content, expected = checkpoint
    file = tmp_path / "last.ckpt"
    num_rejected = 0
    for seed in range(first, first + 50):
        file.write_bytes(corrupt_bytes(content, seed))
        actual, message = try_load(file)
        num_rejected += actual is None
        is_valid = is_equal(expected, actual) if actual else "last.ckpt" in message and "\n" not in message
        assert is_valid, f"seed {seed}: {message}"

    assert num_rejected > 30


def test_objects_in_lists_of_mappings_are_left_out(tmp_path, capsys):
    contents = {"lr_schedulers": [{"milestones": Counter([1, 1, 2]), "curve": is_equal, "last_epoch": 3}]}
    checkpoint_io.AtomicCheckpointIO().save_checkpoint(contents, tmp_path / "x.ckpt")
    loaded = checkpoint_io.AtomicCheckpointIO().load_checkpoint(tmp_path / "x.ckpt")

    assert loaded == {"lr_schedulers": [{"milestones": Counter({1: 2, 2: 1}), "last_epoch": 3}]}
    assert "leaves out lr_schedulers.0.curve" in capsys.readouterr().out
