"""The options of the config groups: the files of configs/."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

CONFIG_DIR = next(
    folder
    for folder in (Path(__file__).parents[3] / "configs", Path(__file__).parents[1] / "configs")
    if folder.is_dir()
)
# Further directories of options, separated as in PATH: the checkout's own options win over theirs.
SEARCH_PATH = [CONFIG_DIR, *map(Path, filter(None, os.environ.get("FIRSTLIGHT_CONFIG_PATH", "").split(os.pathsep)))]
TRUSTED_FILE = "trusted.yaml"

# The engine, and in a checkout the directory that holds the project's package beside it.
ENGINE_DIR = Path(__file__).parents[1]
SOURCE_DIR = ENGINE_DIR.parent if ENGINE_DIR.parent.name == "src" else ENGINE_DIR

# What `auto` stands for is known when the machine is.
AUTO = "auto"


@cache
def load_trusted_packages() -> list[str]:
    """Return the packages whose classes a `_target_` may name, from trusted.yaml of each directory of options.

    Raises:
        ValueError: a file is no list of names.
    """
    names: list[str] = []
    for file in [folder / TRUSTED_FILE for folder in SEARCH_PATH if (folder / TRUSTED_FILE).is_file()]:
        try:
            found: Any = OmegaConf.to_container(OmegaConf.load(file))
        except Exception as error:  # YAML and OmegaConf raise many kinds
            raise ValueError(f"{file} cannot be read ({' '.join(str(error).split())}): restore it by git") from error
        if not isinstance(found, list) or not all(isinstance(name, str) and name.isidentifier() for name in found):
            raise ValueError(f"{file} is a list of packages, but it holds {found!r}: write a line such as `- torch`")
        names += found
    return names


def list_groups() -> list[str]:
    """Return the names of the config groups."""
    found = {folder.name for root in SEARCH_PATH for folder in root.iterdir() if folder.is_dir()}
    return sorted(found - {"hydra"})


def list_root_configs() -> list[Path]:
    """Return the files that commands start from."""
    return sorted(file for file in CONFIG_DIR.glob("*.yaml") if file.name != TRUSTED_FILE)


def list_option_files(group: str) -> dict[str, Path]:
    """Return the file of each option of a group, by its name."""
    found = {file.stem: file for root in reversed(SEARCH_PATH) for file in (root / group).glob("*.yaml")}
    return {name: found[name] for name in sorted(found)}


def iter_options(group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each choice of a group: its name and its settings, those of the choice it builds on included."""
    for name in list_option_files(group):
        yield name, load_option(group, name)


def load_option(group: str, name: str) -> dict[str, Any]:
    """Return the settings of a choice, those of the choices it builds on included."""
    own = load_yaml(list_option_files(group)[name])
    bases = [each for each in own.pop("defaults") if isinstance(each, str) and each != "_self_"]
    settings: dict[str, Any] = {}
    for base in bases:
        settings |= load_option(group, base)
    return settings | own


def load_yaml(file: Path) -> dict[str, Any]:
    """Return what a file of configs/ says, the references in it as they are written.

    Raises:
        ValueError: it cannot be read, or holds something else than settings.
    """
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(content.setdefault("defaults", []), list):
            raise TypeError("its defaults are no list")
        return content
    except Exception as error:  # YAML and OmegaConf raise many kinds
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file} holds no settings that can be read ({why}): mend it, or restore it by git") from error


def format_unknown_option(group: str, chosen: str) -> str:
    """Return the sentence that refuses a choice and names the nearest known one."""
    known = list(list_option_files(group))
    near = get_close_matches(chosen, known, n=1, cutoff=0.4)
    hint = f"did you mean {group}={near[0]}? Known" if near else "known"
    return f"There is no {group}={chosen}: {hint} are {', '.join(known)}"


def format_unknown_key(path: str, known: list[str]) -> str:
    """Return the sentence that refuses a setting and names the nearest known one."""
    parent, _, name = path.rpartition(".")
    here = sorted({each for each in known if not each.startswith("_")})
    near = get_close_matches(name, here, n=1, cutoff=0.5)
    prefix = f"{parent}." if parent else ""
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known here are {', '.join(here)}"
    return f"There is no setting {path}: {hint}"
