"""The options of the config groups: the files of configs/."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

CONFIGS = next(
    folder
    for folder in (Path(__file__).parents[3] / "configs", Path(__file__).parents[1] / "configs")
    if folder.is_dir()
)


# What `auto` stands for is known when the machine is.
AUTO = "auto"


def choices(group: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each choice of a group: its name and its settings, those of the choice it builds on included."""
    for file in sorted((CONFIGS / group).glob("*.yaml")):
        yield file.stem, choice(group, file.stem)


def choice(group: str, name: str) -> dict[str, Any]:
    """Return the settings of a choice, those of the choices it builds on included."""
    own = read(CONFIGS / group / f"{name}.yaml")
    bases = [each for each in own.pop("defaults") if isinstance(each, str) and each != "_self_"]
    settings: dict[str, Any] = {}
    for base in bases:
        settings |= choice(group, base)
    return settings | own


def read(file: Path) -> dict[str, Any]:
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


def no_such_choice(group: str, chosen: str) -> str:
    """Return the sentence that refuses a choice and names the nearest known one."""
    known = sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))
    near = get_close_matches(chosen, known, n=1, cutoff=0.4)
    hint = f"did you mean {group}={near[0]}? Known" if near else "known"
    return f"There is no {group}={chosen}: {hint} are {', '.join(known)}"


def unknown(path: str, known: list[str]) -> str:
    """Return the sentence that refuses a setting and names the nearest known one."""
    parent, _, name = path.rpartition(".")
    here = sorted({each for each in known if not each.startswith("_")})
    near = get_close_matches(name, here, n=1, cutoff=0.5)
    prefix = f"{parent}." if parent else ""
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known here are {', '.join(here)}"
    return f"There is no setting {path}: {hint}"
