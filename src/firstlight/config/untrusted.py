"""The trust boundary: what the config of a loaded run may state, because the run may come from a stranger.

A run states how it was trained: model, data, optimizer, scheduler, trainer, callbacks, seed and names. Places outside
the run directory, servers, accounts and keys are taken from the checkout, the command line and the environment. A run
that states others is rejected, and the message names the override that allows the value.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.config.options import iter_options, list_root_configs, load_yaml
from firstlight.run.containment import is_inside
from firstlight.run.errors import CheckpointError, ConfigError, format_value

Settings = dict[str, Any]

# Parameters of callbacks and loggers that name a directory or a file, and those that name a server, an account or a
# key. Each pattern matches a word of the name.
PLACES = re.compile(r"(^|_)(dir|dirs|directory|path|paths|folder|root|file|files|output|destination)(_|$)|path$|dir$")
SERVERS = re.compile(
    r"(^|_)(url|uri|host|server|endpoint|address|port|proxy|key|token|password|secret|user|username|account|entity|team|"
    r"project|workspace|space|org|organization|settings|webhook|email|command|cmd)(_|$)|url$|uri$"
)
# Strings that name a place or a server, whatever the name of their parameter.
PLACE_VALUE = re.compile(r"^([/~\\]|[A-Za-z]:[/\\])|(^|[/\\])\.\.([/\\]|$)|://")
# Parameters of a logger that only label a run, and modes that send less than the checkout's.
LABELS = (
    *("_target_", "experiment_name", "group", "id", "job_type", "name", "notes", "run_name", "save_dir", "tags"),
    "version",
)
LESS_SENDING = {"mode": ("offline", "disabled"), "offline": (True,), "log_model": (False,)}
# Arguments of Lightning's Trainer that are objects of their own or name places and servers.
TRAINER_DENIED = ("callbacks", "default_root_dir", "logger", "model_registry", "plugins")
# Where datasets are stored when they are downloaded. All other paths of a dataset are only read.
DATA_DENIED = ("cache_dir",)


def select_run_config(
    saved: DictConfig, run_dir: Path, overrides: Collection[str] = (), groups: Collection[str] = ()
) -> DictConfig:
    """Return the part of a run's config that a run may state.

    Args:
        saved: Config of the run.
        run_dir: The run directory: the only one in which the run may name places.
        overrides: Keys that the command line sets, which replace the keys of the run.
        groups: Those of "callbacks" and "logger" that the command builds from the config of the run.

    Raises:
        CheckpointError: If a value refers to another value or to the environment.
        ConfigError: If the run names a place, a server or a key, and the command line does not.
    """
    config: Any = OmegaConf.to_container(saved)
    validate_plain_values(config, run_dir)
    denied = list_denied_keys()
    config = {name: value for name, value in deny_remote_code(config).items() if name not in denied}
    config["output_dir"] = str(run_dir)
    keys = {key.lstrip("+~") for key in overrides}
    config |= {group: {} for group in ("callbacks", "logger") if group in config and group not in groups}
    for path, value in iter_denied_values(config, run_dir):
        if not any(path == key or path.startswith(f"{key}.") for key in keys):
            raise ConfigError(format_denied(path, value, run_dir))
    return OmegaConf.create(config)


def format_denied(path: str, value: Any, run_dir: Path) -> str:
    """Return the message for a key that a run must not set."""
    text = value if isinstance(value, str) else format_value(value)
    problem = f"The config of {run_dir} sets {path}={text}, but a run from someone else must not do so"
    if path.startswith("logger.") and path.count(".") == 1:
        return f"{problem}: no option of configs/logger/ has this logger. Pass {path}=null, or logger=<option>."
    return f"{problem}. To use this value, pass {path}={text}."


def list_denied_keys() -> set[str]:
    """Return the root keys that a run does not state: keys of Hydra, and of commands other than `train`."""
    roots = {file.stem: load_yaml(file) for file in list_root_configs()}
    others = {name for root in roots.values() for name in root} - {*roots["train"], "callbacks", "logger"}
    return others | {"defaults", "hydra", "resume", "json"}


def validate_plain_values(value: Any, run_dir: Path) -> None:
    """Check that no string is an interpolation, which could copy a variable of the environment into the config.

    Raises:
        CheckpointError: If there is one. A run writes its config with all interpolations resolved.
    """
    if isinstance(value, str) and "${" in value:
        raise CheckpointError(f"The config of {run_dir} contains the interpolation {value!r}. Use another run.")
    items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        validate_plain_values(item, run_dir)


def deny_remote_code(value: Any) -> Any:
    """Return a copy of plain config values in which each `trust_remote_code`, at any depth, is False."""
    if isinstance(value, dict):
        return {name: name != "trust_remote_code" and deny_remote_code(item) for name, item in value.items()}
    return [deny_remote_code(item) for item in value] if isinstance(value, list) else value


def iter_denied_values(config: Settings, run_dir: Path) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each key with which a run leaves its directory."""
    for name, value in as_dict(config.get("trainer")).items():
        if (name in TRAINER_DENIED and value) or (isinstance(value, dict) and value):
            yield f"trainer.{name}", value
    data = as_dict(config.get("data"))
    for name in DATA_DENIED:
        if data.get(name) not in (None, *(option.get(name) for option in list_same_class("data", data))):
            yield f"data.{name}", data[name]
    for name, node in as_dict(config.get("callbacks")).items():
        known = find_entry("callbacks", name, node, config)
        yield from iter_denied_arguments(f"callbacks.{name}", node, known, run_dir)
    for name, node in as_dict(config.get("logger")).items():
        entry = find_entry("logger", name, node, config)
        if node and entry is None:
            yield f"logger.{name}", as_dict(node).get("_target_", node)
        elif node:
            arguments = {key: value for key, value in node.items() if not is_label(key, value, run_dir)}
            yield from iter_denied_labels(f"logger.{name}", arguments, entry or {})


def iter_denied_arguments(path: str, value: Any, known: Any, run_dir: Path) -> Iterator[tuple[str, Any]]:
    """Yield each argument of a callback that names a place outside the run, or a server or a key.

    Args:
        path: Config path of the argument.
        value: Value in the config of the run.
        known: Value in the config of the checkout, which is allowed.
        run_dir: The run directory.
    """
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from iter_denied_arguments(f"{path}.{name}", item, as_dict(known).get(str(name)), run_dir)
    elif isinstance(value, str) and value != known:
        name = path.rpartition(".")[2].lower()
        is_place = PLACES.search(name) or PLACE_VALUE.search(value)
        if SERVERS.search(name) or (is_place and ("://" in value or not is_inside(Path(value), run_dir))):
            yield path, value


def iter_denied_labels(path: str, arguments: Settings, known: Settings) -> Iterator[tuple[str, Any]]:
    """Yield each argument of a logger that differs from the config of the checkout."""
    for name, value in arguments.items():
        if value != known.get(name):
            yield f"{path}.{name}", value


def is_label(name: str, value: Any, run_dir: Path) -> bool:
    """Return True if an argument of a logger labels the run, stores it in the run directory, or sends less of it."""
    if name == "save_dir":
        return isinstance(value, str) and is_inside(Path(value), run_dir)
    if name == "id":
        return value is None or is_run_id(value)
    return name in LABELS or value in LESS_SENDING.get(name, ())


def is_run_id(value: Any) -> bool:
    """Return True if a value can be the ID of a logger's run: loggers make directory names of it."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]{1,128}", value) is not None


def find_entry(group: str, name: str, node: Any, config: Settings) -> Settings | None:
    """Return an entry of the callbacks or loggers as the checkout defines it for this run; None if it does not."""
    for _, option in iter_options(group):
        entry = option.get(name)
        if isinstance(entry, dict) and entry.get("_target_") == as_dict(node).get("_target_"):
            try:
                root = OmegaConf.create({**config, "entry": entry})
                resolved: Any = OmegaConf.to_container(root.entry, resolve=True)
            except Exception:  # an interpolation of a key that this run lacks
                resolved = entry
            return as_dict(resolved)
    return None


def list_same_class(group: str, node: Settings) -> list[Settings]:
    """Return the options of the checkout that name the class of a node."""
    return [option for _, option in iter_options(group) if option.get("_target_") == node.get("_target_")]


def as_dict(value: Any) -> Settings:
    """Return a mapping, or an empty one in place of any other value."""
    return value if isinstance(value, dict) else {}
