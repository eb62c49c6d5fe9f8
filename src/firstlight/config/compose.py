"""Compose a command's configuration: from configs/, or from that of an earlier run."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from firstlight.config.options import CONFIG_DIR, SEARCH_PATH, format_unknown_option, list_option_files, load_option
from firstlight.run.files import has_valid_checksum, read_json_or_empty
from firstlight.run.lock import is_unlocked

# What may be changed when a run goes on; anything else would make it another run.
RESUME_MUTABLE_KEYS: tuple[str, ...] = ("resume", "trainer", "callbacks", "logger", "name", "tags", "test")
RESUME_MUTABLE_KEYS += ("data.num_workers", "data.root", "model.trust_remote_code")
# Settings of the trainer that decide over each step.
RESUME_IMMUTABLE_KEYS: tuple[str, ...] = (
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
)
RESUME_IMMUTABLE_KEYS += ("trainer.limit_train_batches", "trainer.overfit_batches")


class OptionSearchPath(SearchPathPlugin):
    """Let Hydra find the options of all directories in `SEARCH_PATH`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add those beside the checkout's own."""
        for folder in SEARCH_PATH[1:]:
            search_path.append(provider="firstlight", path=f"file://{folder}")


def compose_config(name: str, words: list[str], hydra: bool = False) -> DictConfig:
    """Return the configuration that a command gets from its words, Hydra's own part included on request."""
    root, words = resolve_root_config(name, words)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(root, words, return_hydra_config=hydra)


def resolve_root_config(name: str, words: list[str]) -> tuple[str, list[str]]:
    """Return the configuration to start from, and the words that are left for Hydra.

    That of an earlier run becomes the choice `saved`, with the groups that are typed besides put into it.

    Raises:
        ValueError: the run or checkpoint is not there, or cannot go on.
    """
    Plugins.instance().register(OptionSearchPath)
    if "resume=last" in words:
        words = [
            f"resume={find_latest_unfinished_run(Path('logs/train'))}" if word == "resume=last" else word
            for word in words
        ]
    given = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("-"))
    source = given.get("resume") or given.get("run") or given.get("ckpt")
    if source in (None, "null"):
        if name in ("evaluate", "predict", "export") and not set(words) & {"--help", "-h", "--hydra-help"}:
            raise ValueError(f"{name} needs a trained model: give run=logs/train/<run> or ckpt=<file>")
        return name, words
    saved = strip_unsafe_keys(load_run_config(Path(source)))
    groups = {group: given[group] for group in ("trainer", "logger", "callbacks") if group in given}
    for group, chosen in groups.items():
        override_group(saved, group, chosen)
    if "resume" in given:
        validate_resume(Path(source), given, saved)
        restore_logger_ids(Path(source), saved)
    # The saved config takes the place of configs/, so overrides work on it as on any other, and nobody has to repeat
    # the original command.
    ConfigStore.instance().store(name="saved", node=saved)
    left = [word for word in words if word.partition("=")[0] not in groups]
    return ("resume" if "resume" in given else name), left


def strip_unsafe_keys(saved: DictConfig) -> DictConfig:
    """Return a saved configuration, which may be a stranger's, without what would let it run code.

    That is Hydra's own part, whose callbacks Hydra builds itself, and the consent to code that comes with weights.
    """
    for name in ("hydra", "defaults"):
        saved.pop(name, None)
    if "trust_remote_code" in saved.get("model", {}):
        saved.model.trust_remote_code = False
    return saved


def override_group(saved: DictConfig, group: str, chosen: str) -> None:
    """Put another choice of a group into a saved configuration; of a trainer, what its own file says."""
    if chosen not in list_option_files(group):
        raise ValueError(format_unknown_option(group, chosen))
    node = load_option(group, chosen)
    if group == "trainer":
        base = load_option(group, "auto")
        node = {**saved.trainer, **{name: value for name, value in node.items() if value != base[name]}}
        node |= {} if chosen != "auto" else {name: value for name, value in base.items() if value == "auto"}
    saved[group] = node


def find_latest_unfinished_run(parent: Path) -> Path:
    """Return the run that was started last of those which did not finish and no process trains.

    Raises:
        ValueError: there is none.
    """
    started = {}
    for file in parent.glob("*/run.json"):
        record = read_json_or_empty(file)
        waits = record.get("status") in ("running", "interrupted", "failed") and has_checkpoint(file.parent)
        if waits and is_unlocked(file.parent):
            started[file.parent] = record.get("started")
    if not started:
        raise ValueError(f"No run in {parent} waits to go on: all have finished, or have no checkpoint yet")
    return max(started, key=lambda folder: str(started[folder]))


def has_checkpoint(folder: Path) -> bool:
    """Say whether a run has saved anything."""
    return any((folder / "checkpoints").glob("*.ckpt"))


def validate_resume(folder: Path, given: dict[str, str], saved: DictConfig) -> None:
    """Refuse to resume what has nothing left to do, nothing to start from, or would become another run."""
    if folder.suffix == ".ckpt":
        raise ValueError(f"resume= takes the folder of a run, but it is {folder}: give {folder.parent.parent}")
    if not has_checkpoint(folder):
        raise ValueError(f"{folder} has no checkpoint to go on from: start again by `make train`")
    for name, value in given.items():
        if name.startswith(RESUME_IMMUTABLE_KEYS) or not name.startswith((*RESUME_MUTABLE_KEYS, "hydra.")):
            before = str(OmegaConf.select(saved, name.lstrip("+")))
            if value != before:
                raise ValueError(
                    f"A run that goes on keeps its settings, but {name} was {before} and would become {value}: start a "
                    f"new run, or change only {', '.join(RESUME_MUTABLE_KEYS[1:])}"
                )
    if read_json_or_empty(folder / "run.json").get("status") == "finished" and not any(
        name.startswith("trainer.max_") for name in given
    ):
        raise ValueError(f"{folder} has finished: add trainer.max_epochs=<more> to train it further")


def load_run_config(source: Path) -> DictConfig:
    """Return the configuration of a run folder or of a checkpoint.

    Raises:
        ValueError: there is none.
    """
    folder = source.parent.parent if source.suffix == ".ckpt" else source
    if (folder / "config.yaml").is_file():
        try:
            return rebase_paths(load_config_file(folder / "config.yaml"), folder)
        except ValueError as error:
            if not has_checkpoint(folder):
                raise
            return load_config_from_checkpoint(folder, source, error)
    if not source.is_file() and not (source.is_dir() and source.suffix == ".ckpt"):
        near = sorted(folder.parent.glob("*/config.yaml"), key=lambda each: each.stat().st_mtime)
        hint = f"the newest there is {near[-1].parent}" if near else "give the folder that a training printed as `run`"
        raise ValueError(f"There is no run in {source}: {hint}")
    from firstlight.checkpoint import io as checkpoint_io

    config: dict[str, Any] = checkpoint_io.load_checkpoint(source)["config"]
    return OmegaConf.create(config)


def load_config_from_checkpoint(folder: Path, source: Path, why: ValueError) -> DictConfig:
    """Return the configuration that a checkpoint holds, in place of a damaged file, and tell of it."""
    from firstlight.checkpoint import io as checkpoint_io

    path = source if source.suffix == ".ckpt" else checkpoint_io.find_latest_valid_checkpoint(folder)[0]
    config: dict[str, Any] = checkpoint_io.load_checkpoint(path)["config"]
    print(f"{str(why).partition(': ')[0]}; the copy in {path.name} is taken", flush=True)
    return rebase_paths(OmegaConf.create(config), folder)


def load_config_file(file: Path) -> DictConfig:
    """Return the configuration in a run's file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        text = file.read_text(encoding="utf-8")
        config = OmegaConf.create(text)
    except Exception as error:  # YAML and OmegaConf raise many kinds
        raise ValueError(f"{file} is damaged ({type(error).__name__}): restore it") from error
    if not isinstance(config, DictConfig) or not isinstance(config.get("output_dir"), str):
        raise ValueError(f"{file} is no configuration of a run: restore it")
    if not has_valid_checksum(text):
        raise ValueError(f"{file} is not as its run wrote it: restore it")
    return config


def rebase_paths(saved: Any, folder: Path) -> DictConfig:
    """Return a saved configuration with its paths where the run's folder is now."""
    before = str(saved.output_dir)

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: replaced(each) for name, each in value.items()}
        if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
            return f"{folder}{value[len(before) :]}"
        return value

    return OmegaConf.create(replaced(OmegaConf.to_container(saved)))


def restore_logger_ids(folder: Path, saved: DictConfig) -> None:
    """Let a resumed run go on in the same run of its trackers, whose ids are in run.json."""
    known = read_json_or_empty(folder / "run.json").get("loggers")
    for name, facts in known.items() if isinstance(known, dict) else ():
        if isinstance(facts, dict) and "id" in facts and name in (saved.logger or {}):
            saved.logger[name].id = facts["id"]
