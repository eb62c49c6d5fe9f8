"""Checkpoints in parts: read as a whole, refused when damaged, and unable to run code."""

import os
import pickle
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.distributed.checkpoint import save
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from firstlight.callbacks.exact_resume import ExactResume
from firstlight.checkpoint import io as checkpoint_io
from firstlight.checkpoint import sharded
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


@pytest.fixture
def folder(tmp_path):
    """A checkpoint in parts of a model that has taken a step."""
    model = TinyMLP(CLASSES, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.network(torch.randn(4, 12)).sum().backward()
    optimizer.step()
    place = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = {"state_dict": model.state_dict(), "optimizer_0": get_optimizer_state_dict(model, optimizer)}
    save(state, checkpoint_id=place, no_dist=True)
    torch.save(
        {"model_kwargs": {}, "format_version": 1, "expected": (model.state_dict(), optimizer.state_dict())},
        place / "meta.pt",
    )
    sharded.write_checksums(place)
    return place


def test_the_parts_are_the_checkpoint_of_one_device(folder):
    saved = checkpoint_io.load_checkpoint(folder)
    weights, optimizer = saved["expected"]
    fresh = torch.optim.AdamW(TinyMLP(CLASSES, 2).parameters())

    assert all(torch.equal(saved["state_dict"][name], weights[name]) for name in weights)
    (state,) = saved["optimizer_states"]
    for number, values in optimizer["state"].items():
        assert all(torch.equal(state["state"][number][name], values[name]) for name in values)
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["lr"] == 0.01


def test_joined_they_are_a_file_like_any_other(folder):
    before = checkpoint_io.load_checkpoint(folder)
    checkpoint_io.consolidate_shards(folder.parents[1])
    after = checkpoint_io.load_checkpoint(folder)

    assert folder.is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["last.ckpt"]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in after["state_dict"].items())


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "meta.pt", "checksums.json"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "a bit"])
def test_a_damaged_part_is_refused(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    with pytest.raises(ValueError, match="is damaged"):
        checkpoint_io.load_checkpoint(folder)
    with pytest.raises(ValueError, match="has no checkpoint to go on from"):
        checkpoint_io.find_latest_valid_checkpoint(folder.parents[1])


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_list_of_parts_cannot_run_code(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / ".metadata").write_bytes(pickle.dumps(Harmful()))
    sharded.write_checksums(folder)

    with pytest.raises(ValueError, match="names posix.mkdir"):
        checkpoint_io.load_checkpoint(folder)
    assert not (tmp_path / "harm").exists()


def test_a_swap_that_was_cut_off_leaves_the_earlier_one(folder):
    os.replace(folder, sharded.make_backup_path(folder))

    assert checkpoint_io.find_latest_valid_checkpoint(folder.parents[1])[0] == sharded.make_backup_path(folder)


def test_a_run_goes_on_with_as_many_devices_as_before():
    trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING), world_size=1, global_rank=0)
    with pytest.raises(ValueError, match="its checkpoint is of 2 and this training of 1: go on where there are 2"):
        ExactResume().on_load_checkpoint(trainer, TinyMLP(CLASSES, 2), {"rng_states": [{}, {}]})
