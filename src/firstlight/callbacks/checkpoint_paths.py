"""Keep the paths in the state of a ModelCheckpoint in its own directory: the state may come from a stranger."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from firstlight.run.containment import is_inside

PATH_NAMES = ("best_model_path", "last_model_path", "kth_best_model_path")


def confine_checkpoint_paths(callbacks: Iterable[Callback], states: Any) -> None:
    """Rewrite the paths in the states of all ModelCheckpoints, in place; see `confine_state`.

    Args:
        callbacks: The callbacks that will load the states.
        states: State of each callback by its key, from a checkpoint.
    """
    for callback in callbacks:
        state = states.get(callback.state_key) if isinstance(states, dict) else None
        if isinstance(callback, ModelCheckpoint) and isinstance(state, dict):
            states[callback.state_key] = confine_state(state, str(callback.dirpath or ""), callback.save_top_k)


def confine_state(state: dict[str, Any], dirpath: str, save_top_k: int) -> dict[str, Any]:
    """Return a state whose paths are in a directory: the run may have been moved or copied.

    ModelCheckpoint deletes the files that its state names. Lightning 2.6 compares the paths as text, so that a path
    with ".." or a protocol leads out of the directory.

    Args:
        state: State of a ModelCheckpoint.
        dirpath: Its directory in this run. If empty, the state keeps no path.
        save_top_k: Its number of checkpoints. With fewer of them, it has not chosen one to replace next.
    """
    before = state.get("dirpath")
    known = state.get("best_k_models")
    models = {_move(path, before, dirpath): score for path, score in known.items()} if isinstance(known, dict) else {}
    models.pop("", None)
    paths = {name: _move(state.get(name), before, dirpath) for name in PATH_NAMES}
    is_complete = bool(state.get("kth_best_model_path")) or 0 < save_top_k <= len(models)
    if is_complete and paths["kth_best_model_path"] not in models:
        # ModelCheckpoint would replace a file that it does not know. It saves as if no checkpoint existed instead.
        models, paths["kth_best_model_path"] = {}, ""
    return {**state, **paths, "best_k_models": models, "dirpath": dirpath}


def _move(path: Any, before: Any, dirpath: str) -> str:
    """Return a path in the current directory, or "" if it leads out."""
    if not isinstance(path, str) or not path or not dirpath:
        return ""
    is_below = isinstance(before, str) and before and path.startswith(before)
    moved = f"{dirpath}{path[len(before) :]}" if is_below else path
    return moved if "://" not in moved and is_inside(Path(moved), Path(dirpath)) else ""
