"""Shared functions of the scripts that edit a project: arguments, files and config options.

Only the standard library. Runs on Python 3.9, which macOS ships, before anything is installed.
"""

from __future__ import annotations

import keyword
import os
import re
import shutil
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from repository import get_git_output, is_owned_by_other_user

ENGINE = "firstlight"
ENGINE_DIRS = ("src/firstlight/", "tests/firstlight/", "scripts/", "docs/")
# Table of pyproject.toml that `make init` writes: projects have it, the template does not.
TEMPLATE_TABLE = "[tool.firstlight.template]"
GROUPS = ("model", "data")
# Path relative to the root -> content of the file. Bytes that are not UTF-8 are kept as surrogates.
Files = dict[str, str]


def parse_options(arguments: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """Return the options of a command line as a dict from name to value.

    Raises:
        ValueError: If an argument is not a known option, or has no value.
    """
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in known:
            raise ValueError(f"Unknown option '{argument}'. {suggest_name(name, known, suffix='=')}")
        if not value.strip():
            raise ValueError(f"Option '{name}' has no value. Pass {name}=<value>.")
    return {name: value.strip() for name, _, value in (argument.partition("=") for argument in arguments)}


def suggest_name(name: str, known: Iterable[str], suffix: str = "") -> str:
    """Return a sentence that suggests the nearest known name, or lists all known names."""
    names = [f"{known_name}{suffix}" for known_name in known]
    matches = get_close_matches(f"{name}{suffix}", names, n=1, cutoff=0.5)
    return f"Did you mean '{matches[0]}'?" if matches else f"Available: {', '.join(names)}."


def validate_identifier(option: str, name: str) -> None:
    """Check that a name can be the name of a Python module.

    Raises:
        ValueError: If the name is not a lowercase identifier, or is a Python keyword.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name):
        fixed = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        fixed = fixed if re.match("[a-z]", fixed) else f"my_{fixed}".rstrip("_")
        raise ValueError(
            f"Invalid value for {option}: expected lowercase letters, digits and underscores, starting with a letter, "
            f"got '{name}'. Use e.g. {option}={fixed}."
        )
    if keyword.iskeyword(name) or name in getattr(keyword, "softkwlist", ()):
        raise ValueError(f"Invalid value for {option}: '{name}' is a Python keyword. Use e.g. {option}=my_{name}.")


def read_files(root: Path) -> Files:
    """Return the files of a checkout, except those that git ignores.

    Raises:
        ValueError: If the directory is not under git.
    """
    listed = get_git_output(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if not listed and is_owned_by_other_user(root):
        raise ValueError(
            f"{root} belongs to another user, so git ignores it. If you trust it, run "
            f"`git config --global --add safe.directory {root}`."
        )
    if not listed:
        raise ValueError(
            f"{root} is not a git repository, so changes could not be undone. Run `git init && git add -A`."
        )
    paths = sorted({path for path in listed.split("\0") if path})
    regular = [path for path in paths if (root / path).is_file() and not (root / path).is_symlink()]
    return {path: (root / path).read_bytes().decode("utf-8", "surrogateescape") for path in regular}


def read_sources(root: Path) -> Files:
    """Return the sources, the configs and pyproject.toml of a checkout, which need not be a git repository."""
    paths = [path for directory in ("src", "configs") for path in sorted((root / directory).rglob("*"))]
    paths = [root / "pyproject.toml", *(path for path in paths if path.suffix in (".py", ".yaml"))]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def write_files(root: Path, before: Files, after: Files) -> None:
    """Write the difference between two states of a checkout, and remove the directories that become empty.

    Raises:
        ValueError: If a path is a link or cannot be written. Nothing is written then.
    """
    validate_targets(root, [path for path in {**before, **after} if before.get(path) != after.get(path)])
    for path, text in after.items():
        if before.get(path) != text:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text.encode("utf-8", "surrogateescape"))
    for path in [path for path in before if path not in after]:
        (root / path).unlink()
        for directory in list((root / path).parents)[: path.count("/")]:
            if directory.is_dir() and all(entry.name == "__pycache__" for entry in directory.iterdir()):
                shutil.rmtree(directory)


def validate_targets(root: Path, paths: Iterable[str]) -> None:
    """Check that files can be written, and are not links, which may lead to files outside of the checkout.

    Raises:
        ValueError: If a path is a link or cannot be written.
    """
    for path in paths:
        target = root / path
        if target.is_symlink() or not target.parent.resolve().is_relative_to(root.resolve()):
            raise ValueError(
                f"{path} is a link, or is in a linked directory. Replace the link with a copy of the files."
            )
        existing = next(entry for entry in (target, *target.parents) if entry.exists())
        if not os.access(existing, os.W_OK) or existing.is_file() is not (existing == target):
            raise ValueError(f"Cannot write {path}: {existing} is not writable. Change its permissions or remove it.")


def list_packages(paths: Iterable[str]) -> list[str]:
    """Return the packages in src/ except the engine, in alphabetical order."""
    matches = (re.fullmatch(r"src/([^/]+)/__init__\.py", path) for path in paths)
    return sorted({match[1] for match in matches if match} - {ENGINE})


def find_package(files: Files) -> str:
    """Return the name of the project's package, the only package in src/ except the engine.

    Raises:
        ValueError: If there is no such package, or more than one.
    """
    packages = list_packages(files)
    if len(packages) != 1:
        names = ", ".join(packages) or "none"
        raise ValueError(
            f"Expected one package in src/ in addition to src/{ENGINE}, found {names}. Keep or restore one."
        )
    return packages[0]


def list_options(files: Files, group: str) -> list[str]:
    """Return the options of a config group."""
    return sorted(m[1] for m in (re.fullmatch(rf"configs/{group}/(\w+)\.yaml", path) for path in files) if m)


def list_models_and_datasets(files: Files) -> list[tuple[str, str]]:
    """Return (group, name) of each model and each dataset."""
    return [(group, name) for group in GROUPS for name in list_options(files, group)]


def is_project_option(files: Files, group: str, name: str) -> bool:
    """Return True if the class of an option is not part of the engine."""
    return not find_target(files, group, name).startswith(f"{ENGINE}.")


def find_default_option(files: Files, group: str) -> str:
    """Return the option that configs/train.yaml selects for a group, or "???"."""
    match = re.search(rf"^\s*- {group}: *([\w?]+)", files.get("configs/train.yaml", ""), re.MULTILINE)
    return match[1] if match else "???"


def find_default_dataset(files: Files, model: str) -> str:
    """Return the dataset that the config of a model selects, or "???"."""
    match = re.search(r"^\s*- override /data: *([\w?]+)", files[f"configs/model/{model}.yaml"], re.MULTILINE)
    return match[1] if match else "???"


def find_base_option(files: Files, group: str, name: str) -> str:
    """Return the option of the same group that an option extends, or ""."""
    entries = re.findall(r"^\s*- (\w+)\s*(?:#.*)?$", files[f"configs/{group}/{name}.yaml"], re.MULTILINE)
    return next((entry for entry in entries if f"configs/{group}/{entry}.yaml" in files), "")


def find_target(files: Files, group: str, name: str) -> str:
    """Return the import path of the class of an option."""
    match = re.search(r"^\s*_target_: *([\w.]+)", files[f"configs/{group}/{name}.yaml"], re.MULTILINE)
    base = "" if match else find_base_option(files, group, name)
    return match[1] if match else find_target(files, group, base) if base else ""


def read_class_source(files: Files, target: str) -> str:
    """Return the source of the module that defines a class, or "" if it is outside src/."""
    return files.get(f"src/{target.rpartition('.')[0].replace('.', '/')}.py", "")


def find_modality(files: Files, group: str, name: str) -> str:
    """Return the modality of an option: "images", "text", or "" if unknown."""
    return read_class_variable(files, find_target(files, group, name), "modality")


def find_task(files: Files, group: str, name: str) -> str:
    """Return the task of an option: "classification", "multilabel", "regression", or "" if unknown."""
    return read_class_variable(files, find_target(files, group, name), "task")


def read_class_variable(files: Files, target: str, variable: str) -> str:
    """Return the string that a class variable of a class or its base classes has, or ""."""
    source, name = read_class_source(files, target), target.rpartition(".")[2]
    body = re.search(rf"^class {name}\b(?:\(([\w., \[\]]*)\))?:.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)
    if not body:
        return ""
    declared = re.search(rf"^    {variable}\b[^=\n]*= *[\"'](\w+)", body[0], re.MULTILINE)
    if declared:
        return declared[1]
    for base in re.findall(r"\w+", body[1] or ""):
        origin = re.search(rf"^from ([\w.]+) import [^#\n]*\b{base}\b", source, re.MULTILINE)
        value = read_class_variable(files, f"{origin[1] if origin else target.rpartition('.')[0]}.{base}", variable)
        if value:
            return value
    return ""


def needs_text_packages(files: Files, group: str, name: str) -> bool:
    """Return True if an option needs the packages of the extra `text`, according to the imports in its source."""
    source = read_class_source(files, find_target(files, group, name))
    imports = rf"^\s*(?:from|import) (?:transformers|tokenizers|{ENGINE}\.data\.(?:text|token|word_)\w*)\b"
    return re.search(imports, source, re.MULTILINE) is not None


def set_text_extra(pyproject: str, is_needed: bool) -> str:
    """Add the extra `text` to the extras that `make setup` installs, or remove it; return the new pyproject.toml."""

    def replace_names(match: re.Match[str]) -> str:
        names = [name for name in re.findall(r'"([\w-]+)"', match[2]) if name != "text"]
        return match[1] + ", ".join(f'"{name}"' for name in (["text", *names] if is_needed else names)) + "]"

    extras = r"^(\[tool\.firstlight\]\n(?:(?!\[).*\n)*?extras = \[)([^]]*)\]"
    return re.sub(extras, replace_names, pyproject, flags=re.MULTILINE)
