"""Sharded checkpoints: consolidated when loaded, rejected when corrupt, and unable to run code."""

import io
import os
import pickle
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.distributed.checkpoint import load, save
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from firstlight.callbacks.exact_resume import ExactResume
from firstlight.checkpoint import io as checkpoint_io
from firstlight.checkpoint import sharded
from firstlight.run.errors import CheckpointError
from firstlight.run.files import ENGINE_KEY
from support.pickles import MaliciousPickle
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


@pytest.fixture
def checkpoint_dir(tmp_path):
    """Return a sharded checkpoint of a model after one optimizer step."""
    model = TinyMLP(CLASSES, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.network(torch.randn(4, 12)).sum().backward()
    optimizer.step()
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = {"state_dict": model.state_dict(), "optimizer_0": get_optimizer_state_dict(model, optimizer)}
    save(state, checkpoint_id=path, no_dist=True)
    torch.save(
        {ENGINE_KEY: {"model_kwargs": {}}, "expected": (model.state_dict(), optimizer.state_dict())},
        path / "meta.pt",
    )
    sharded.write_checksums(path)
    return path


def test_sharded_checkpoint_loads_like_single_file(checkpoint_dir):
    saved = checkpoint_io.load_checkpoint(checkpoint_dir)
    weights, optimizer = saved["expected"]
    restored = torch.optim.AdamW(TinyMLP(CLASSES, 2).parameters())

    assert all(torch.equal(saved["state_dict"][name], weights[name]) for name in weights)
    (state,) = saved["optimizer_states"]
    for index, values in optimizer["state"].items():
        assert all(torch.equal(state["state"][index][name], values[name]) for name in values)
    restored.load_state_dict(state)
    assert restored.param_groups[0]["lr"] == 0.01


def test_consolidated_checkpoint_is_regular_file(checkpoint_dir):
    before = checkpoint_io.load_checkpoint(checkpoint_dir)
    checkpoint_io.consolidate_shards(checkpoint_dir.parents[1])
    after = checkpoint_io.load_checkpoint(checkpoint_dir)

    assert checkpoint_dir.is_file()
    assert [path.name for path in checkpoint_dir.parent.iterdir()] == ["last.ckpt"]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in after["state_dict"].items())


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "meta.pt", "checksums.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "bit flip"])
def test_corrupt_shard_raises(checkpoint_dir, name, damage):
    path = checkpoint_dir / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    with pytest.raises(CheckpointError, match="is corrupt"):
        checkpoint_io.load_checkpoint(checkpoint_dir)
    with pytest.raises(CheckpointError, match="has no checkpoint to resume from"):
        checkpoint_io.find_latest_valid_checkpoint(checkpoint_dir.parents[1])


class MaliciousIndex:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_shard_index_cannot_run_code(checkpoint_dir, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (checkpoint_dir / ".metadata").write_bytes(pickle.dumps(MaliciousIndex()))
    sharded.write_checksums(checkpoint_dir)

    with pytest.raises(CheckpointError, match="unexpected global 'posix.mkdir' in the shard index"):
        checkpoint_io.load_checkpoint(checkpoint_dir)
    assert not (tmp_path / "harm").exists()


def write_shard_entry(directory, value, path="__0_0.distcp"):
    """Write a sharded checkpoint with one entry that is not a tensor, as a stranger might."""
    content = io.BytesIO()
    torch.save(value, content)
    (directory / "__0_0.distcp").write_bytes(content.getvalue())
    index = Metadata(
        state_dict_metadata={"state_dict.x": BytesStorageMetadata()},
        planner_data={"state_dict.x": ("state_dict", "x")},
        storage_data={MetadataIndex("state_dict.x"): _StorageInfo(path, 0, len(content.getvalue()))},
    )
    (directory / ".metadata").write_bytes(pickle.dumps(index))
    sharded.write_checksums(directory)


def test_shard_entry_cannot_run_code(checkpoint_dir, tmp_path):
    write_shard_entry(checkpoint_dir, MaliciousPickle(tmp_path / "marker"))

    with pytest.raises(CheckpointError, match=r"is corrupt or not a checkpoint \(UnpicklingError: Weights only load"):
        checkpoint_io.load_checkpoint(checkpoint_dir)
    with pytest.raises(CheckpointError, match="Weights only load failed"), sharded.load_shards_safely(checkpoint_dir):
        load({"state_dict.x": 0}, checkpoint_id=checkpoint_dir, no_dist=True)
    assert sharded.FORCE_WEIGHTS_ONLY not in os.environ
    assert not (tmp_path / "marker").exists()


def test_plain_shard_entry_loads(checkpoint_dir):
    write_shard_entry(checkpoint_dir, {"x": 1})

    assert checkpoint_io.load_checkpoint(checkpoint_dir)["state_dict"] == {"x": {"x": 1}}


@pytest.mark.parametrize("path", ["../other.ckpt/__0_0.distcp", "/etc/hostname", "missing.distcp"])
def test_shard_index_cannot_name_other_files(checkpoint_dir, path):
    write_shard_entry(checkpoint_dir, 1, path)

    with pytest.raises(CheckpointError, match=f"the index names the file {path}"):
        checkpoint_io.load_checkpoint(checkpoint_dir)


@pytest.mark.parametrize("name", ["__0.metadata", "__1_0.distcp", "meta.pt"])
def test_shards_must_be_known_regular_files(checkpoint_dir, name):
    (checkpoint_dir / name).unlink(missing_ok=True)
    (checkpoint_dir / name).symlink_to(checkpoint_dir / ".metadata")

    with pytest.raises(CheckpointError, match=f"unexpected file {name}"):
        checkpoint_io.load_checkpoint(checkpoint_dir)
    with pytest.raises(CheckpointError, match=f"unexpected file {name}"), sharded.load_shards_safely(checkpoint_dir):
        pass


def test_interrupted_replacement_keeps_previous_checkpoint(checkpoint_dir):
    backup_dir = sharded.make_backup_path(checkpoint_dir)
    os.replace(checkpoint_dir, backup_dir)

    assert checkpoint_io.find_latest_valid_checkpoint(checkpoint_dir.parents[1])[0] == backup_dir


def test_resume_with_other_number_of_devices_raises():
    trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING), world_size=1, global_rank=0, callbacks=[])
    with pytest.raises(
        CheckpointError, match=r"Cannot resume on 1 device\(s\): the checkpoint was written on 2\. Resume on 2"
    ):
        ExactResume().on_load_checkpoint(
            trainer, TinyMLP(CLASSES, 2), {ENGINE_KEY: {"steps": 1, "rng_states": [{}, {}]}}
        )
