"""Compose the config of a command, from configs/ or from the config of an earlier run."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.config.hydra_version import REPLACE, VERSION_BASE
from firstlight.config.options import (
    AUTO,
    CONFIG_DIR,
    SEARCH_PATH,
    format_unknown_option,
    list_option_files,
    load_option,
    load_yaml,
    parse_options,
)
from firstlight.config.overrides import collect_train_overrides, drop_keys_of_replaced_classes
from firstlight.config.path_overrides import normalize_path_overrides
from firstlight.config.run_config import has_checkpoint, load_run_config, rebase_paths
from firstlight.config.switches import list_active_switches
from firstlight.config.untrusted import is_run_id, select_run_config
from firstlight.run.containment import find_run_dir
from firstlight.run.errors import CheckpointError, ConfigError, Message, format_value
from firstlight.run.files import read_json_or_empty
from firstlight.run.lock import is_unlocked
from firstlight.run.text import unquote_hydra

# Keys that may change when a run is resumed. Any other change would make it another run.
RESUME_MUTABLE_KEYS: tuple[str, ...] = ("resume", "trainer", "callbacks", "logger", "name", "tags", "test")
RESUME_MUTABLE_KEYS += ("data.num_workers", "data.root", "model.trust_remote_code")
# Keys of the trainer and of callbacks that influence every step.
RESUME_IMMUTABLE_KEYS: tuple[str, ...] = (
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
)
RESUME_IMMUTABLE_KEYS += ("trainer.limit_train_batches", "trainer.overfit_batches")
RESUME_IMMUTABLE_KEYS += ("callbacks.ema", "callbacks.accumulation", "callbacks.unfreezing")
# Groups of a training run that these commands do not use: their results are files.
UNUSED_GROUPS = {"evaluate": ("logger",), "predict": ("callbacks", "logger"), "export": ("callbacks", "logger")}
UNUSED_GROUPS |= {"demo": ("callbacks", "logger")}


class OptionSearchPath(SearchPathPlugin):
    """Hydra plugin that adds the directories of `SEARCH_PATH`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the additional config directories."""
        for directory in SEARCH_PATH[1:]:
            search_path.append(provider="firstlight", path=f"file://{directory}")


def compose_config(name: str, overrides: list[str], hydra: bool = False) -> DictConfig:
    """Compose the config of a command.

    Args:
        name: The command.
        overrides: Its command-line arguments.
        hydra: Whether to include the section of Hydra itself.
    """
    root, overrides = resolve_and_store_root_config(name, overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        cfg = compose(root, overrides, return_hydra_config=True)
    drop_keys_of_replaced_classes(cfg, cfg.hydra)
    if not hydra:
        with open_dict(cfg):
            del cfg.hydra
    return cfg


def resolve_and_store_root_config(name: str, overrides: list[str]) -> tuple[str, list[str]]:
    """Return the root config to compose from, and the remaining overrides.

    The config of an earlier run is stored as the option `saved`, with the config groups of the overrides applied.

    Raises:
        ConfigError: If the command requires a trained model and none is given, or does not use a group of an override.
        CheckpointError: If the run or checkpoint does not exist or cannot be resumed.
    """
    Plugins.instance().register(OptionSearchPath)
    if "resume=last" in overrides:
        latest = f"resume={find_latest_unfinished_run(Path('logs/train'))}"
        overrides = [latest if override == "resume=last" else override for override in overrides]
    overrides = [re.sub(r"^init_from=", "init_from.path=", item) for item in normalize_path_overrides(overrides)]
    if name == "benchmark":
        overrides = collect_train_overrides(overrides)
    given = dict(override.split("=", 1) for override in overrides if "=" in override and not override.startswith("-"))
    given |= {key: unquote_hydra(value) for key, value in given.items() if key in ("resume", "run", "ckpt")}
    source = given.get("resume") or given.get("run") or given.get("ckpt")
    if source in (None, "null"):
        if name in ("evaluate", "predict", "export", "demo") and not set(overrides) & {"--help", "-h", "--hydra-help"}:
            raise ConfigError(format_missing_run(name))
        return name, overrides
    groups = select_groups(name, given)
    run_groups = {"train": ("callbacks", "logger"), "evaluate": ("callbacks",)}.get(name, ())
    keys = [override.partition("=")[0] for override in overrides]
    saved = select_run_config(load_run_config(Path(source)), find_run_dir(Path(source)), keys, run_groups)
    for group, option in groups.items():
        override_group(saved, group, option)
    if "callbacks" in saved and name in ("evaluate", "predict"):
        # Their results go to a directory of their own.
        saved.callbacks = rebase_paths(saved, "${output_dir}").callbacks
    if "resume" in given:
        validate_resume(Path(source), given, saved, overrides)
        restore_logger_ids(Path(source), saved)
    # The saved config takes the place of configs/, so that overrides work on it as on any other config and the
    # original command need not be repeated.
    ConfigStore.instance().store(name="saved", node=saved, **REPLACE)
    remaining = [override for override in overrides if override.partition("=")[0] not in groups]
    return ("resume" if "resume" in given else name), remaining


def format_missing_run(name: str) -> Message:
    """Return the message for a command that was not given a trained model."""
    fix = "Pass run=logs/train/<run> or ckpt=<file>."
    return Message(f"{name} requires a trained model. {fix}", "run", fix=fix)


def select_groups(name: str, given: dict[str, str]) -> dict[str, str]:
    """Return the options of trainer, logger and callbacks that the command line selects.

    Args:
        name: The command.
        given: Command-line overrides by key.

    Raises:
        ConfigError: If the command does not use a group.
    """
    for group in UNUSED_GROUPS.get(name, ()):
        if parse_options(given.get(group, "none")) not in (["none"], ["null"]):
            noun = {"logger": "loggers"}.get(group, group)
            raise ConfigError(f"{group}={given[group]} has no effect, because {name} uses no {noun}. Remove {group}=.")
    return {group: given[group] for group in ("trainer", "logger", "callbacks") if group in given}


def override_group(saved: DictConfig, group: str, value: str) -> None:
    """Select another option of a group in a saved config; for the trainer, apply only the keys that the option sets.

    Args:
        saved: The config; changed in place.
        group: The group.
        value: An option, or a list of options as Hydra accepts it.

    Raises:
        ConfigError: If an option does not exist.
    """
    node: dict[str, object] = {}
    for option in [value] if group == "trainer" else parse_options(value):
        if option not in list_option_files(group):
            raise ConfigError(format_unknown_option(group, option))
        node |= load_option(group, option)
    if group == "trainer":
        base, own = load_option(group, "auto"), load_yaml(list_option_files(group)[value])
        is_set = {name: value != base[name] or (value == AUTO and name in own) for name, value in node.items()}
        node = {**saved.trainer, **{name: value for name, value in node.items() if is_set[name]}}
    if group == "callbacks":
        node |= list_active_switches(saved)  # without them, it would be another run
    saved[group] = node


def find_latest_unfinished_run(parent: Path) -> Path:
    """Return the most recently started run that has not finished, has a checkpoint and is not running.

    Raises:
        CheckpointError: If there is no such run.
    """
    started = {}
    for file in parent.glob("*/run.json"):
        record = read_json_or_empty(file)
        # A damaged run.json has no status; validate_resume decides by the checkpoint.
        is_unfinished = record.get("status") != "finished"
        if is_unfinished and has_checkpoint(file.parent) and is_unlocked(file.parent):
            started[file.parent] = record.get("started", "")
    if not started:
        raise CheckpointError(
            f"No resumable run in {parent}: all runs have finished or have no checkpoint yet. "
            "Start a new run with `make train`."
        )
    return max(started, key=lambda run_dir: str(started[run_dir]))


def validate_resume(run_dir: Path, given: dict[str, str], saved: DictConfig, overrides: Iterable[str]) -> None:
    """Check that a run can be resumed and that the overrides do not turn it into another run.

    Args:
        run_dir: The run.
        given: Command-line overrides by key.
        saved: Config of the run.
        overrides: The command line.

    Raises:
        CheckpointError: If there is nothing to resume, or the run has finished.
        ConfigError: If a key changes that must stay the same.
    """
    if run_dir.suffix == ".ckpt":
        raise CheckpointError(f"resume= expects a run directory, got {run_dir}. Pass resume={run_dir.parent.parent}.")
    if not has_checkpoint(run_dir):
        raise CheckpointError(f"{run_dir} has no checkpoint to resume from. Start a new run with `make train`.")
    for name, value in given.items():
        if name.startswith(RESUME_IMMUTABLE_KEYS) or not name.startswith((*RESUME_MUTABLE_KEYS, "hydra.")):
            before = OmegaConf.select(saved, name.lstrip("+"))
            if parse_value(value) != before:
                text = (
                    f"Cannot change {name} from {format_value(before)} to {value} when resuming. Start a new run, or "
                    f"change only: {', '.join(RESUME_MUTABLE_KEYS[1:])}."
                )
                raise ConfigError(Message(text, name, value, Message.parse(text).fix))
    validate_deletions(overrides)
    has_finished = read_json_or_empty(run_dir / "run.json").get("status") == "finished"
    if has_finished and not any(name.startswith("trainer.max_") for name in given):
        raise CheckpointError(f"{run_dir} has already finished. To train longer, increase trainer.max_epochs.")


def parse_value(text: str) -> Any:
    """Return the value that Hydra reads from an override."""
    parsed = OverridesParser.create().parse_override(f"value={text}").value()
    return OmegaConf.create({"value": parsed}).value


def validate_deletions(overrides: Iterable[str]) -> None:
    """Check that the command line deletes no key that must stay the same when a run is resumed.

    Raises:
        ConfigError: If it does.
    """
    for name in (override[1:].partition("=")[0] for override in overrides if override.startswith("~")):
        is_mutable = name.startswith(RESUME_MUTABLE_KEYS) and not name.startswith(RESUME_IMMUTABLE_KEYS)
        if not is_mutable or any(key.startswith(f"{name}.") for key in RESUME_IMMUTABLE_KEYS):
            raise ConfigError(f"Cannot delete {name} when resuming. Start a new run, or remove ~{name}.")


def restore_logger_ids(run_dir: Path, saved: DictConfig) -> None:
    """Set the logger IDs of run.json in a saved config, so that loggers continue the same run."""
    loggers = read_json_or_empty(run_dir / "run.json").get("loggers")
    for name, info in loggers.items() if isinstance(loggers, dict) else ():
        if isinstance(info, dict) and is_run_id(info.get("id")) and (saved.get("logger") or {}).get(name):
            saved.logger[name].id = info["id"]
