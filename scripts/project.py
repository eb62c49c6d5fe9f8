"""What the programs that edit a project read: the words after a command, and its options. Standard library only.

The Python 3.9 of macOS runs this before anything is installed.
"""

from __future__ import annotations

import keyword
import re
import shutil
import subprocess
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

ENGINE = "firstlight"
ENGINE_DIRS = ("src/firstlight/", "tests/firstlight/", "scripts/", "docs/")
TEMPLATE_TABLE = "[tool.firstlight.template]"  # `make init` writes this table: a project has it, the template does not
GROUPS = ("model", "data")
# The text of each file by its path from the root. Bytes that are not UTF-8 survive as surrogates.
Files = dict[str, str]


def read_options(words: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """Return the options of a command line by name.

    Raises:
        ValueError: If a word is not one of the known options with a value.
    """
    for word in words:
        name, _, value = word.partition("=")
        if name not in known:
            raise ValueError(f"Unknown option '{word}'. {nearest(name, known, suffix='=')}")
        if not value.strip():
            raise ValueError(f"Option '{name}' has no value. Use {name}=<value>.")
    return {name: value.strip() for name, _, value in (word.partition("=") for word in words)}


def nearest(name: str, known: Iterable[str], prefix: str = "", suffix: str = "") -> str:
    """Return the question that names the nearest known name, or the list of all."""
    names = [f"{prefix}{each}{suffix}" for each in known]
    near = get_close_matches(f"{prefix}{name}{suffix}", names, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Use one of: {', '.join(names)}."


def require_identifier(option: str, name: str) -> None:
    """Reject a name that cannot name a module.

    Raises:
        ValueError: If the name is not a lower-case identifier, or is a keyword.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name):
        fixed = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        fixed = fixed if re.match("[a-z]", fixed) else f"my_{fixed}".rstrip("_")
        raise ValueError(
            f"Invalid value for {option}: '{name}' is not made of lower-case letters, digits and underscores. "
            f"Use e.g. {option}={fixed}."
        )
    if keyword.iskeyword(name) or name in getattr(keyword, "softkwlist", ()):
        raise ValueError(f"Invalid value for {option}: '{name}' is a Python keyword. Use e.g. {option}=my_{name}.")


def git(root: Path, *words: str) -> str | None:
    """Return what git prints, or None if git is missing or fails."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode(errors="surrogateescape").strip()


def read_files(root: Path) -> Files:
    """Return the files of a checkout, without those that git ignores.

    Raises:
        ValueError: If the directory is not under git.
    """
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if not listed:
        raise ValueError(f"{root} is not under git, so nothing could be undone. Run: git init && git add -A")
    paths = sorted({path for path in listed.split("\0") if path})
    regular = [path for path in paths if (root / path).is_file() and not (root / path).is_symlink()]
    return {path: (root / path).read_bytes().decode("utf-8", "surrogateescape") for path in regular}


def read_sources(root: Path) -> Files:
    """Return the sources, the configs and pyproject.toml of a checkout, whether under git or not."""
    found = [path for folder in ("src", "configs") for path in sorted((root / folder).rglob("*"))]
    found = [root / "pyproject.toml", *(path for path in found if path.suffix in (".py", ".yaml"))]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in found}


def write_files(root: Path, before: Files, after: Files) -> None:
    """Bring a checkout from one state to the other, and remove the directories that are empty then."""
    for path, text in after.items():
        if before.get(path) != text:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text.encode("utf-8", "surrogateescape"))
    for path in [path for path in before if path not in after]:
        (root / path).unlink()
        for folder in list((root / path).parents)[: path.count("/")]:
            if folder.is_dir() and all(each.name == "__pycache__" for each in folder.iterdir()):
                shutil.rmtree(folder)


def list_packages(paths: Iterable[str]) -> list[str]:
    """Return the packages in src/ other than the engine, in alphabetical order."""
    found = (re.fullmatch(r"src/([^/]+)/__init__\.py", path) for path in paths)
    return sorted({match[1] for match in found if match} - {ENGINE})


def find_package(files: Files) -> str:
    """Return the name of the project's package: the only other package in src/.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = list_packages(files)
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise ValueError(f"src/ must hold one package beside src/{ENGINE}, but holds {names}. Keep one.")
    return found[0]


def list_options(files: Files, group: str) -> list[str]:
    """Return the options of a config group."""
    return sorted(m[1] for m in (re.fullmatch(rf"configs/{group}/(\w+)\.yaml", path) for path in files) if m)


def list_all(files: Files) -> list[tuple[str, str]]:
    """Return group and name of each model and each dataset."""
    return [(group, name) for group in GROUPS for name in list_options(files, group)]


def is_own(files: Files, group: str, name: str) -> bool:
    """Return True if the class of an option is not the engine's."""
    return not find_target(files, group, name).startswith(f"{ENGINE}.")


def find_default(files: Files, group: str) -> str:
    """Return the option that configs/train.yaml names for a group."""
    found = re.search(rf"^\s*- {group}: *([\w?]+)", files.get("configs/train.yaml", ""), re.MULTILINE)
    return found[1] if found else "???"


def find_data(files: Files, model: str) -> str:
    """Return the dataset that a model's YAML names."""
    found = re.search(r"^\s*- override /data: *([\w?]+)", files[f"configs/model/{model}.yaml"], re.MULTILINE)
    return found[1] if found else "???"


def find_base(files: Files, group: str, name: str) -> str:
    """Return the option of the same group that an option builds on, or an empty text."""
    entries = re.findall(r"^\s*- (\w+)\s*(?:#.*)?$", files[f"configs/{group}/{name}.yaml"], re.MULTILINE)
    return next((each for each in entries if f"configs/{group}/{each}.yaml" in files), "")


def find_target(files: Files, group: str, name: str) -> str:
    """Return the dotted path of the class of an option."""
    found = re.search(r"^\s*_target_: *([\w.]+)", files[f"configs/{group}/{name}.yaml"], re.MULTILINE)
    base = "" if found else find_base(files, group, name)
    return found[1] if found else find_target(files, group, base) if base else ""


def find_source(files: Files, target: str) -> str:
    """Return the source of the module of a class, or an empty text if it lies elsewhere."""
    return files.get(f"src/{target.rpartition('.')[0].replace('.', '/')}.py", "")


def find_kind(files: Files, target: str) -> str:
    """Return the modality of a class, "images" or "text", as it or a base class of it declares."""
    source, name = find_source(files, target), target.rpartition(".")[2]
    body = re.search(rf"^class {name}\b(?:\(([\w., \[\]]*)\))?:.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)
    if not body:
        return ""
    own = re.search(r"^    modality\b[^=\n]*= *[\"'](\w+)", body[0], re.MULTILINE)
    if own:
        return own[1]
    for base in re.findall(r"\w+", body[1] or ""):
        origin = re.search(rf"^from ([\w.]+) import [^#\n]*\b{base}\b", source, re.MULTILINE)
        kind = find_kind(files, f"{origin[1] if origin else target.rpartition('.')[0]}.{base}")
        if kind:
            return kind
    return ""


def needs_text(files: Files, group: str, name: str) -> bool:
    """Return True if an option needs the packages of the extra `text`, judged by what its source imports."""
    source = find_source(files, find_target(files, group, name))
    imports = rf"^\s*(?:from|import) (?:transformers|tokenizers|{ENGINE}\.data\.(?:text|token|word_)\w*)\b"
    return re.search(imports, source, re.MULTILINE) is not None


def set_extra_text(text: str, needed: bool) -> str:
    """Return pyproject.toml with the extra `text` in or out of the list that `make setup` installs."""

    def edit(found: re.Match[str]) -> str:
        names = [name for name in re.findall(r'"([\w-]+)"', found[2]) if name != "text"]
        return found[1] + ", ".join(f'"{name}"' for name in (["text", *names] if needed else names)) + "]"

    return re.sub(r"^(\[tool\.firstlight\]\n(?:(?!\[).*\n)*?extras = \[)([^]]*)\]", edit, text, flags=re.MULTILINE)
