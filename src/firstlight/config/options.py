"""The options of the config groups: the YAML files of configs/."""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from firstlight.run.errors import ConfigError, Message, unknown_name

CONFIG_DIR = next(
    folder
    for folder in (Path(__file__).parents[3] / "configs", Path(__file__).parents[1] / "configs")
    if folder.is_dir()
)
# Additional config directories, separated as in PATH. The options of the checkout take precedence.
SEARCH_PATH = [CONFIG_DIR, *map(Path, filter(None, os.environ.get("FIRSTLIGHT_CONFIG_PATH", "").split(os.pathsep)))]
TRUSTED_FILE = "trusted.yaml"
# The config groups that every training run needs.
COMPONENTS = ("model", "data", "trainer", "optimizer", "scheduler")

# The engine, and the directory next to it that contains the package of the project (in a checkout).
ENGINE_DIR = Path(__file__).parents[1]
SOURCE_DIR = ENGINE_DIR.parent if ENGINE_DIR.parent.name == "src" else ENGINE_DIR

# Suggestions for Lightning's accelerator names that have no option; the nearest spelling would be cpu.
SIMILAR_OPTIONS = {("trainer", "gpu"): ["cuda", "mps"], ("trainer", "tpu"): []}
# `auto` is resolved once the machine is known.
AUTO = "auto"


@cache
def load_trusted_packages() -> list[str]:
    """Return the packages that a `_target_` may name, from trusted.yaml of each config directory.

    Raises:
        ConfigError: If a file is not a list of package names.
    """
    names: list[str] = []
    for file in [folder / TRUSTED_FILE for folder in SEARCH_PATH if (folder / TRUSTED_FILE).is_file()]:
        try:
            found: Any = OmegaConf.to_container(OmegaConf.load(file))
        except Exception as error:  # YAML and OmegaConf raise many kinds
            raise ConfigError(
                f"Cannot parse {file}: {' '.join(str(error).split())}. Fix the file, or restore it with git."
            ) from error
        if not isinstance(found, list) or not all(isinstance(name, str) and name.isidentifier() for name in found):
            raise ConfigError(f"{file} must be a list of packages, got {found!r}. Add lines such as `- torch`.")
        names += found
    return names


@cache
def list_config_targets() -> frozenset[str]:
    """Return each `_target_` in the config files of the checkout."""
    texts = [file.read_text(encoding="utf-8") for folder in SEARCH_PATH for file in folder.rglob("*.yaml")]
    return frozenset(match for text in texts for match in re.findall(r"""_target_["']?\s*:\s*["']?([\w.]+)""", text))


def list_groups() -> list[str]:
    """Return the names of the config groups."""
    found = {folder.name for root in SEARCH_PATH for folder in root.iterdir() if folder.is_dir()}
    return sorted(found - {"hydra"})


def list_root_configs() -> list[Path]:
    """Return the root configs of the commands."""
    return sorted(file for file in CONFIG_DIR.glob("*.yaml") if file.name != TRUSTED_FILE)


def list_option_files(group: str) -> dict[str, Path]:
    """Return the file of each option of a group, by name."""
    found = {file.stem: file for root in reversed(SEARCH_PATH) for file in (root / group).glob("*.yaml")}
    return {name: found[name] for name in sorted(found)}


def parse_options(value: str) -> list[str]:
    """Return the options in the value of a group override, such as "wandb" or "[wandb,tensorboard]"."""
    return [option.strip() for option in value.removeprefix("[").removesuffix("]").split(",")]


def iter_options(group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the config of each option of a group; see `load_option`."""
    for name in list_option_files(group):
        yield name, load_option(group, name)


def load_option(group: str, name: str) -> dict[str, Any]:
    """Return the config of an option, including the options in its defaults list."""
    config = load_yaml(list_option_files(group)[name])
    bases = [base for base in config.pop("defaults") if isinstance(base, str) and base != "_self_"]
    inherited: dict[str, Any] = {}
    for base in bases:
        inherited |= load_option(group, base)
    return inherited | config


def load_yaml(file: Path) -> dict[str, Any]:
    """Return the contents of a file of configs/, without resolving interpolations.

    Raises:
        ConfigError: If the file cannot be parsed or does not contain a mapping.
    """
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(content.setdefault("defaults", []), list):
            raise TypeError("the defaults are not a list")
        return content
    except Exception as error:  # YAML and OmegaConf raise many kinds
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"Cannot parse {file}: {why}. Fix the file, or restore it with git.") from error


def format_unknown_option(group: str, name: str) -> Message:
    """Return the message for an option that does not exist, with the nearest existing one."""
    known = list(list_option_files(group))
    nearest = SIMILAR_OPTIONS.get((group, name), get_close_matches(name, known, n=1, cutoff=0.4))
    hint = f"Did you mean {' or '.join(f'{group}={option}' for option in nearest)}? " if nearest else ""
    fix = f"{hint}Available: {', '.join(known)}."
    return Message(f"Unknown option {group}={name}. {fix}", group, name, fix)


def format_unknown_key(path: str, known: list[str]) -> Message:
    """Return the message for a config key that does not exist, with the nearest existing one."""
    parent, _, name = path.rpartition(".")
    if parent and not known:
        fix = f"Use another option of {parent.partition('.')[0]}=."
        return Message(f"Unknown setting {path!r}: {parent} has no settings. {fix}", path, "", fix)
    keys = sorted({key for key in known if not key.startswith("_")})
    return unknown_name("setting", name, keys, prefix=f"{parent}." if parent else "")
