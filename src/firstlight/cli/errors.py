"""Turn errors into one-line messages that users can act on: problem, value, fix."""

import re
import sys
import traceback
from pathlib import Path
from traceback import extract_tb

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.options import (
    CONFIG_DIR,
    SOURCE_DIR,
    TRUSTED_FILE,
    format_unknown_key,
    format_unknown_option,
    list_groups,
    list_option_files,
    load_trusted_packages,
    load_yaml,
)
from firstlight.run.errors import MAX_MESSAGE_CHARACTERS, UserError, shorten
from firstlight.run.failure import find_known_reason, unwrap_worker_error


def format_user_error(error: BaseException, name: str, overrides: list[str]) -> str | None:
    """Return the one-line message for an error, or None if only a traceback helps.

    Args:
        error: The raised error.
        name: The command.
        overrides: Its command-line arguments.
    """
    if (reason := find_known_reason(error)) is not None:
        return reason
    text = unwrap_worker_error(error)
    one_line = " ".join(text.split())
    match error:
        case UserError():
            return one_line
        case OverrideParseException():
            detail = text.splitlines()[0]
            fix = "Use the form key=value, and quote special characters."
            return f"Cannot parse override {error.override!r} ({detail}). {fix}"
        case MissingConfigException():
            return _format_unknown_option(text)
        case ConfigCompositionException():
            return _format_unknown_key(text or str(error.__cause__), name, overrides)
        case HydraException() | OmegaConfBaseException():
            return one_line
        case ValueError() if "Config group override must be" in text:
            return _format_invalid_option(overrides)
        case ValueError() if _mentions_trainer_argument(text):
            return one_line
    # By its name, because importing the class from Lightning would import torch.
    if type(error).__name__ == "MisconfigurationException":
        return one_line
    if _is_config_error(error):
        return _format_unreadable_config() or f"Cannot compose the config: {type(error).__name__}: {one_line}"
    return None


def _format_invalid_option(overrides: list[str]) -> str:
    """Return the message for a config group that was set to null."""
    invalid = [word for word in overrides if word.partition("=")[2] in ("null", "") or word.startswith("=")]
    if not invalid:
        return "A config group must be set to the name of an option. Use <group>=<option>."
    group = invalid[0].partition("=")[0]
    disable = f", or {group}=none to disable the group" if "none" in list_option_files(group) else ""
    return f"{invalid[0]} is not a valid option. Use {group}=<option>{disable}."


def _mentions_trainer_argument(text: str) -> bool:
    """Return True if Lightning rejects an argument of its Trainer."""
    match = re.match(r"`(\w+)`", text)
    return (
        match is not None and match.group(1) in schema.read_signature("firstlight.trainer.trainer.Trainer").parameters
    )


def _is_config_error(error: BaseException) -> bool:
    """Return True if Hydra, OmegaConf or YAML raised the error themselves."""
    files = [frame.filename for frame in extract_tb(error.__traceback__)]
    last = max((number for number, file in enumerate(files) if _is_package_file(file)), default=-1)
    parts = {part for file in files[last + 1 :] for part in Path(file).parts}
    return bool(parts & {"hydra", "omegaconf", "yaml"})


def _is_package_file(file: str) -> bool:
    # Not by module name: under `python -m`, the module of a command is called __main__.
    return Path(file).is_relative_to(SOURCE_DIR)


def _format_unreadable_config() -> str | None:
    """Return the message for the first file of configs/ that cannot be parsed, or None."""
    for file in sorted(CONFIG_DIR.rglob("*.yaml")):
        try:
            load_trusted_packages() if file.name == TRUSTED_FILE else load_yaml(file)
        except UserError as error:
            return str(error)
    return None


def _format_unknown_option(text: str) -> str:
    match = re.search(r"Could not (?:find|load) '([\w/.\-]+)/([^'/]*)'", text)
    if match is None:
        return " ".join(text.split())
    return format_unknown_option(*match.groups())


def _format_unknown_key(text: str, name: str, overrides: list[str]) -> str:
    """Return the message for an override that Hydra cannot apply to the config.

    Args:
        text: Message of Hydra.
        name: The command.
        overrides: Its command-line arguments.
    """
    if "Ambiguous value" in text or "requires --multirun" in text:
        match = re.search(r"'([^']+)'", text)
        subject = match.group(1) if match else "An override"
        return f"{subject} is a sweep over several values. Run `make sweep`, or pass a list with key=[a,b]."
    if match := re.match(r"You must specify '(\w+)'", text):
        return _format_missing_default(match.group(1))
    match = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if match is None:
        return " ".join(text.split())
    path = match.group(1)
    group = path.partition(".")[0]
    if group in ("launcher", "sweeper") and name != "sweep":
        return f"'{group}' is only valid for sweeps. Run `make sweep`, or remove {path}."
    try:
        cfg = _compose_without(path, name, overrides)
    except Exception:  # there is another error
        return " ".join(text.split())
    return _suggest_key(path, cfg)


def _suggest_key(path: str, cfg: DictConfig) -> str:
    """Return the message for a key that the config does not have, with a suggestion."""
    parent, _, last = path.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if not isinstance(node, DictConfig):
        known = _list_known_keys(OmegaConf.select(cfg, parent.rpartition(".")[0]) if parent else cfg)
        return format_unknown_key(parent or path, known)
    if "_target_" in node and last in schema.read_signature(node["_target_"]).parameters:
        return f"'{path}' is accepted by the class but not set in the config. To add the key, pass +{path}=<value>."
    if not parent:
        for section, value in cfg.items_ex(resolve=False):
            if last in _list_known_keys(value):
                return f"Unknown setting '{path}'. Did you mean '{section!s}.{path}'?"
    return format_unknown_key(path, [*_list_known_keys(node), *([] if parent else list_groups())])


def _format_missing_default(group: str) -> str:
    """Return the message for a config group without a default option."""
    known = ", ".join(list_option_files(group))
    if not known:
        return f"There is no {group} yet. Add one with `make new {group}=<name>`."
    where = f"`- {group}:` in configs/train.yaml" if group == "model" else f"`- override /{group}:` in the model config"
    return f"{group} has no default. Pass {group}=<option> (available: {known}), or set {where}."


def _list_known_keys(node: object) -> list[str]:
    if not isinstance(node, DictConfig):
        return []
    parameters = list(schema.read_signature(node["_target_"]).parameters) if "_target_" in node else []
    return [*map(str, node), *parameters]


def _compose_without(path: str, name: str, overrides: list[str]) -> DictConfig:
    """Compose the config with the group overrides only, to see which keys exist."""
    pattern = r"[\w/]+=(\w+|\[[\w,]+\])"
    options = [word for word in overrides if re.fullmatch(pattern, word) and not word.startswith(f"{path}=")]
    options = [word for word in options if word.partition("=")[0] in list_groups()]
    sources = [word for word in overrides if word.startswith(("run=", "ckpt=", "resume="))]
    return compose_config(name, [*options, *sources])


def print_error(error: Exception, name: str) -> None:
    """Print a user error as one line, and any other error with its traceback."""
    text = format_user_error(error, name, sys.argv[1:])
    if text is None:
        traceback.print_exception(error)
    else:
        print(f"{name}: {shorten(text, MAX_MESSAGE_CHARACTERS)}", file=sys.stderr, flush=True)
