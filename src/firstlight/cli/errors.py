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
from firstlight.run.errors import (
    MAX_MESSAGE_CHARACTERS,
    ConfigError,
    Message,
    UserError,
    format_value,
    shorten,
    split_setting,
)
from firstlight.run.failure import find_known_reason, is_oom_error, unwrap_worker_error
from firstlight.run.json_output import set_error
from firstlight.run.network import is_network_error
from firstlight.run.redaction import redact


def format_user_error(error: BaseException, name: str, overrides: list[str]) -> Message | None:
    """Return the one-line message for an error, with its parts, or None if only a traceback helps.

    Args:
        error: The raised error.
        name: The command.
        overrides: Its command-line arguments.
    """
    text = unwrap_worker_error(error)
    if (reason := find_known_reason(error)) is not None:
        return Message(reason, "data.batch_size" if is_oom_error(error) else None, None, Message.parse(reason).fix)
    if isinstance(error, UserError) and text == str(error).strip():
        return error.get_message()
    formatted = _format_config_error(error, text, name, overrides)
    return formatted if formatted is None or isinstance(formatted, Message) else Message.parse(formatted)


def _format_config_error(error: BaseException, text: str, name: str, overrides: list[str]) -> str | None:
    """Return the message for an error of Hydra, OmegaConf, YAML or Lightning about the config, or None.

    Args:
        error: The raised error.
        text: Its text.
        name: The command.
        overrides: Its command-line arguments.
    """
    one_line = " ".join(text.split())
    match error:
        case UserError():
            return one_line
        case OverrideParseException():
            fix = "Use the form key=value, and quote special characters."
            message = f"Cannot parse override {error.override!r} ({text.splitlines()[0]}). {fix}"
            return Message(message, value=error.override, fix=fix)
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
        fix = "Run `make sweep`, or pass a list with key=[a,b]."
        return Message(f"{subject} is a sweep over several values. {fix}", *split_setting(subject), fix)
    if match := re.match(r"You must specify '(\w+)'", text):
        return _format_missing_default(match.group(1))
    match = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if match is None:
        return " ".join(text.split())
    path = match.group(1)
    group = path.partition(".")[0]
    if group in ("launcher", "sweeper") and name != "sweep":
        fix = f"Run `make sweep`, or remove {path}."
        return Message(f"'{group}' is only valid for sweeps. {fix}", path, fix=fix)
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
        owner = OmegaConf.select(cfg, parent.rpartition(".")[0]) if "." in parent else cfg
        if isinstance(owner, DictConfig) and parent.rpartition(".")[2] in owner:
            fix = f"Use '{parent}={{{last}: <value>}}'." if node is None else f"Remove {path}."
            return Message(f"'{path}' cannot be set: {parent} is {format_value(node)}. {fix}", path, fix=fix)
        known = _list_known_keys(owner)
        return format_unknown_key(parent or path, known)
    fix = f"To add the key, pass +{path}=<value>."
    if last in schema.EXTRA_KEYS.get(parent, ()):
        return Message(f"'{path}' is accepted, but not set in the config. {fix}", path, fix=fix)
    if "_target_" in node and last in schema.read_signature(node["_target_"]).parameters:
        return Message(f"'{path}' is accepted by the class but not set in the config. {fix}", path, fix=fix)
    if not parent:
        for section, value in cfg.items_ex(resolve=False):
            if last in _list_known_keys(value):
                fix = f"Did you mean '{section!s}.{path}'?"
                return Message(f"Unknown setting '{path}'. {fix}", path, fix=fix)
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


def print_error(error: Exception, name: str) -> int:
    """Print a user error as one line, and any other error with its traceback; return the exit code of the command.

    The parts of the message are stored for json=true.
    """
    message = format_user_error(error, name, sys.argv[1:])
    if message is None:
        traceback.print_exception(error)
        set_error(type(error).__name__, " ".join(str(error).split()))
        return 1
    line = shorten(message, MAX_MESSAGE_CHARACTERS)
    print(f"{name}: {line}", file=sys.stderr, flush=True)
    kind, code = classify_error(error)
    value = redact({message.key: message.value})[message.key] if message.key else message.value
    set_error(kind, line, message.key, value, message.fix)
    return code


def classify_error(error: Exception) -> tuple[str, int]:
    """Return the name of the class of an error that `format_user_error` explains, and the exit code of the command.

    The code is 2 if the arguments, the config, or the files that they name are invalid, and otherwise 1.
    """
    if is_oom_error(error) and not isinstance(error, UserError):
        return "OutOfMemoryError", 1
    if find_known_reason(error) is not None or is_network_error(error):
        return type(error).__name__, 1
    if isinstance(error, UserError):
        return type(error).__name__, error.exit_code
    return ConfigError.__name__, ConfigError.exit_code
