"""What tests share: one thread each, no network, and configurations composed in process."""

import os

# Before torch is imported: tests run side by side, and threads that spin for a core halve the speed of all.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from collections.abc import Callable
from pathlib import Path

import pytest
from choices import QUICK, TINY, a_model, kind_of, names, takes, tiny
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from firstlight.check import CONFIGS

__all__ = ["QUICK", "TINY", "a_model", "composed", "kind_of", "names", "small", "takes", "tiny"]


@pytest.fixture
def composed(tmp_path: Path) -> Callable[..., DictConfig]:
    """Return a function that composes a training into a folder of the test's own."""

    def compose_(*overrides: str, root: str = "train", folder: str = "run") -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose(root, [f"output_dir={tmp_path / folder}", *overrides])

    return compose_


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every training build the smallest model with dropout."""
    from interrupted import Chancy

    from firstlight import run

    monkeypatch.setattr(run, "build_model", lambda settings, facts: Chancy())
    monkeypatch.setattr(run, "load_model", lambda *args: Chancy())
