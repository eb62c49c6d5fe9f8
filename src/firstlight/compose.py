"""Compose a command's configuration: from configs/, or from that of an earlier run."""

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from firstlight.check import CONFIGS


def composed(name: str, words: list[str], hydra: bool = False) -> DictConfig:
    """Return the configuration that a command gets from its words, Hydra's own part included on request."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(root_config(name, words), words, return_hydra_config=hydra)


def root_config(name: str, words: list[str]) -> str:
    """Return the configuration to start from; that of an earlier run becomes the choice `saved`.

    Raises:
        ValueError: the run or checkpoint is not there.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    source = given.get("resume") or given.get("run") or given.get("ckpt")
    if source in (None, "null"):
        if name in ("evaluate", "predict") and not set(words) & {"--help", "-h", "--hydra-help"}:
            raise ValueError(f"{name} needs a trained model: give run=logs/train/<run> or ckpt=<file>")
        return name
    saved = saved_config(Path(source))
    if "resume" in given:
        keep_trackers(Path(source), saved)
    ConfigStore.instance().store(name="saved", node=saved)
    return "resume" if "resume" in given else name


def saved_config(source: Path) -> DictConfig:
    """Return the configuration of a run folder or of a checkpoint.

    Raises:
        ValueError: there is none.
    """
    folder = source.parent.parent if source.suffix == ".ckpt" else source
    if (folder / "config.yaml").is_file():
        loaded = OmegaConf.load(folder / "config.yaml")
        assert isinstance(loaded, DictConfig)
        return loaded
    if not source.is_file():
        near = sorted(folder.parent.glob("*/config.yaml"), key=lambda each: each.stat().st_mtime)
        hint = f"the newest there is {near[-1].parent}" if near else "give the folder that a training printed as `run`"
        raise ValueError(f"There is no run in {source}: {hint}")
    from firstlight.run import load_checkpoint

    config: dict[str, Any] = load_checkpoint(source)["config"]
    return OmegaConf.create(config)


def keep_trackers(folder: Path, saved: DictConfig) -> None:
    """Let a resumed run go on in the same run of its trackers, whose ids are in run.json."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for name, facts in record["loggers"].items():
        if "id" in facts:
            saved.logger[name].id = facts["id"]
