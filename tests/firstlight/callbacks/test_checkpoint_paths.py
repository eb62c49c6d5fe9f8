"""Paths in the states of ModelCheckpoints stay in the run, whoever wrote the checkpoint."""

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, Timer

from firstlight.callbacks.checkpoint_paths import confine_checkpoint_paths, confine_state


def make_state(dirpath, best, others=()):
    """Return the state of a ModelCheckpoint."""
    paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), best)
    return {**paths, "dirpath": dirpath, "best_k_models": {best: 0.5, **dict.fromkeys(others, 0.6)}, "monitor": "x"}


def test_paths_follow_a_moved_run(tmp_path):
    state = confine_state(make_state("/old/run/checkpoints", "/old/run/checkpoints/best.ckpt"), str(tmp_path), 1)

    assert state == make_state(str(tmp_path), str(tmp_path / "best.ckpt"))


def test_checkpoints_are_kept_until_there_are_enough_to_replace_one(tmp_path):
    state = make_state(str(tmp_path), str(tmp_path / "a.ckpt"), [str(tmp_path / "b.ckpt")])
    state["kth_best_model_path"] = ""

    assert confine_state(state, str(tmp_path), 3) == state
    assert confine_state(state, str(tmp_path), -1) == state
    assert confine_state(state, str(tmp_path), 2)["best_k_models"] == {}


@pytest.mark.parametrize(
    "path",
    ["/home/user", "{0}/../victim", "/old/../home", "s3://bucket/x", "local:///home", "victim", "{0}/link/x", 3, None],
)
def test_paths_cannot_lead_out(tmp_path, path):
    (tmp_path / "link").symlink_to("/")
    path = path.format(tmp_path) if isinstance(path, str) else path
    inside = str(tmp_path / "best.ckpt")
    state = confine_state(make_state("/old", path, [inside]), str(tmp_path), 1)

    assert (state["best_model_path"], state["last_model_path"]) == ("", "")
    # ModelCheckpoint removes its k-th best file before it saves another one.
    assert (state["kth_best_model_path"], state["best_k_models"], state["dirpath"]) == ("", {}, str(tmp_path))


def test_states_of_all_model_checkpoints_are_confined(tmp_path):
    callbacks = [ModelCheckpoint(tmp_path, monitor="x"), ModelCheckpoint(monitor="y"), Timer()]
    state = make_state("/old", "/home/user")
    states = {callback.state_key: dict(state) for callback in callbacks}
    confine_checkpoint_paths(callbacks, states)

    assert [states[callback.state_key]["best_model_path"] for callback in callbacks] == ["", "", "/home/user"]
    confine_checkpoint_paths(callbacks, None)
