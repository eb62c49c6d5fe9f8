"""Turn an error into the sentence a user can act on: the rule, what came, how to mend it."""

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
from firstlight.run.failure import find_known_reason, unwrap_worker_error


def format_user_error(error: BaseException, name: str, words: list[str]) -> str | None:
    """Return the sentence for an error of a command, or None where only a traceback helps.

    Args:
        error: what was raised.
        name: the command.
        words: its command line.
    """
    if (known := find_known_reason(error)) is not None:
        return known
    text = unwrap_worker_error(error)
    match error:
        case OverrideParseException():
            return f"{error.override!r} cannot be read as a setting ({text.splitlines()[0]}): write name=value"
        case MissingConfigException():
            return _format_unknown_option(text)
        case ConfigCompositionException():
            return _format_unknown_key(text or str(error.__cause__), name, words)
        case HydraException() | OmegaConfBaseException():
            return " ".join(text.split())
        case ValueError() if (told := _format_value_error(error, text, words)) is not None:
            return told
    # Lightning refuses its own settings by an exception of its own; importing it here would import torch.
    if type(error).__name__ == "MisconfigurationException":
        return " ".join(text.split())
    if _is_config_error(error):
        return (
            _find_first_unreadable_config()
            or f"The configuration cannot be composed ({type(error).__name__}: {' '.join(text.split())}): mend it"
        )
    return None


def _format_value_error(error: ValueError, text: str, words: list[str]) -> str | None:
    """Return the sentence for a value that was refused, or None where a library did so deep in a step."""
    if "Config group override must be" in text:
        groups = [word for word in words if word.partition("=")[2] in ("null", "") or word.startswith("=")]
        return f"{' '.join(groups) or 'A choice'} names no choice: write group=name, and name none to switch one off"
    # A rule of ours is one line.
    is_rule = _is_raised_by_this_package(error) or text != str(error).strip() or _mentions_trainer_argument(text)
    return " ".join(text.split()) if is_rule else None


def _is_raised_by_this_package(error: BaseException) -> bool:
    frames = extract_tb(error.__traceback__)
    return bool(frames) and _is_package_file(frames[-1].filename)


def _mentions_trainer_argument(text: str) -> bool:
    """Say whether Lightning complains of a setting of its trainer."""
    found = re.match(r"`(\w+)`", text)
    return (
        found is not None and found.group(1) in schema.read_signature("firstlight.trainer.trainer.Trainer").parameters
    )


def _is_config_error(error: BaseException) -> bool:
    """Say whether Hydra, OmegaConf or YAML raised it, not something that they called."""
    files = [frame.filename for frame in extract_tb(error.__traceback__)]
    last = max((number for number, file in enumerate(files) if _is_package_file(file)), default=-1)
    parts = {part for file in files[last + 1 :] for part in Path(file).parts}
    return bool(parts & {"hydra", "omegaconf", "yaml"})


def _is_package_file(file: str) -> bool:
    # By its file: under `python -m` a command's module is called __main__.
    return Path(file).is_relative_to(SOURCE_DIR)


def _find_first_unreadable_config() -> str | None:
    """Return the sentence about the first file of configs/ that cannot be read."""
    for file in sorted(CONFIG_DIR.rglob("*.yaml")):
        try:
            load_trusted_packages() if file.name == TRUSTED_FILE else load_yaml(file)
        except ValueError as error:
            return str(error)
    return None


def _format_unknown_option(text: str) -> str:
    found = re.search(r"Could not (?:find|load) '([\w/.\-]+)/([^'/]+)'", text)
    if found is None:
        return " ".join(text.split())
    return format_unknown_option(*found.groups())


def _format_unknown_key(text: str, name: str, words: list[str]) -> str:
    found = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if "Ambiguous value" in text or "requires --multirun" in text:
        word = re.search(r"'([^']+)'", text)
        return f"{word.group(1) if word else 'A list of values'} is a list: use `make sweep` to run each, or key=[a,b]"
    if missing := re.match(r"You must specify '(\w+)'", text):
        return _format_missing_default(missing.group(1))
    if found is None:
        return " ".join(text.split())
    path = found.group(1)
    if path.partition(".")[0] in ("launcher", "sweeper") and name != "sweep":
        return f"{path} is a setting of sweeps: type `make sweep`, or leave it out"
    try:
        cfg = _compose_without(path, name, words)
    except Exception:  # there is another mistake
        return " ".join(text.split())
    parent, _, last = path.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if not isinstance(node, DictConfig):
        return format_unknown_key(
            parent or path, _list_known_keys(OmegaConf.select(cfg, parent.rpartition(".")[0]) if parent else cfg)
        )
    if "_target_" in node and last in schema.read_signature(node["_target_"]).parameters:
        return f"{path} is known but not in the configuration: add it by +{path}=<value>"
    if inside := [
        str(group) for group, each in cfg.items_ex(resolve=False) if not parent and last in _list_known_keys(each)
    ]:
        return f"There is no setting {path}: did you mean {inside[0]}.{path}?"
    return format_unknown_key(path, [*_list_known_keys(node), *([] if parent else list_groups())])


def _format_missing_default(group: str) -> str:
    """Return the sentence for a group without a default."""
    known = ", ".join(list_option_files(group))
    if not known:
        return f"There is no {group} yet: add one with `make new {group}=<name>`"
    where = f"`- {group}:` in configs/train.yaml" if group == "model" else f"`- override /{group}:` in the model's YAML"
    return f"{group} has no default: pass {group}=<name>, one of {known}, or set {where}"


def _list_known_keys(node: object) -> list[str]:
    if not isinstance(node, DictConfig):
        return []
    own = list(schema.read_signature(node["_target_"]).parameters) if "_target_" in node else []
    return [*map(str, node), *own]


def _compose_without(path: str, name: str, words: list[str]) -> DictConfig:
    """Compose what was asked for but the settings that are in doubt, to see which names are there."""
    choices = [word for word in words if re.fullmatch(r"[\w/]+=[\w]+", word) and not word.startswith(f"{path}=")]
    known = [word for word in choices if word.partition("=")[0] in list_groups()]
    sources = [word for word in words if word.startswith(("run=", "ckpt=", "resume="))]
    return compose_config(name, [*known, *sources])


def print_error(error: Exception, name: str) -> None:
    """Print a mistake of the user's as a sentence, anything else with its traceback."""
    text = format_user_error(error, name, sys.argv[1:])
    if text is None:
        traceback.print_exception(error)
    else:
        print(f"{name}: {text}", file=sys.stderr, flush=True)
