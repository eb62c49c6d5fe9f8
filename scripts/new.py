"""Add a model or a dataset:  make new model=my_net kind=images  or  make new data=my_set kind=text

Writes two files that train at once. A kind that is left out is that of the default model. Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import project
from project import GROUPS, Files

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
KINDS = ("images", "text")


def read_words(files: Files, words: list[str]) -> tuple[str, str, str]:
    """Return group, name and kind.

    Raises:
        ValueError: If an option is unknown or missing, or the name is invalid or taken.
    """
    given = project.read_options(words, (*GROUPS, "kind"))
    groups = [group for group in GROUPS if group in given]
    if len(groups) != 1:
        raise ValueError(f"Set either model or data, got {'both' if groups else 'neither'}. Use e.g. model=my_net.")
    group = groups[0]
    name, kind = given[group], given.get("kind", "")
    project.require_identifier(group, name)
    for path in (f"src/{project.find_package(files)}/{group}/{name}.py", f"configs/{group}/{name}.yaml"):
        if path in files or (ROOT / path).exists():
            raise ValueError(f"{path} exists. Use another name, e.g. {group}=my_{name}.")
    if kind and kind not in KINDS:
        raise ValueError(f"Invalid value for kind: expected images or text, got {kind}. Use e.g. kind=images.")
    model = project.find_default(files, "model")
    default = "" if model == "???" else project.find_kind(files, project.find_target(files, "model", model))
    return group, name, kind or (default if default in KINDS else KINDS[0])


def find_partner(files: Files, group: str, kind: str) -> str:
    """Return the option of a group to train with: the default if it fits, one of the project, or a fake dataset."""
    model = project.find_default(files, "model")
    default = model if group == "model" or model == "???" else project.find_data(files, model)
    options = project.list_options(files, group)
    fitting = [name for name in options if project.find_kind(files, project.find_target(files, group, name)) == kind]
    own = [name for name in fitting if project.is_own(files, group, name)]
    if default in own:
        return default
    # A dataset of the engine reads files that may not be there.
    rest = [f"fake_{kind}"] if group == "data" else fitting
    return next(iter([*own, *rest]), "")


def plan(files: Files, words: list[str]) -> tuple[Files, str]:
    """Return the files to write, and what to run next.

    Raises:
        ValueError: If an option is invalid.
    """
    group, name, kind = read_words(files, words)
    package = project.find_package(files)
    data, model = find_partner(files, "data", kind), find_partner(files, "model", kind)
    class_name = "".join(part.capitalize() for part in name.split("_"))
    swaps = {"PACKAGE": package, "MyOption": class_name, "my_option": name, "DATA": data}
    written = {f"src/{package}/{group}/{name}.py": ".txt", f"configs/{group}/{name}.yaml": ".yaml.txt"}
    for path, suffix in written.items():
        text = (TEMPLATES / f"{group}_{kind}{suffix}").read_text(encoding="utf-8")
        for old, new in swaps.items():
            text = text.replace(old, new)
        written[path] = text
    if group == "model" and project.find_default(files, "model") == "???":
        train = "configs/train.yaml"
        written[train] = files[train].replace("- model: ???", f"- model: {name}", 1)
    pyproject = project.set_extra_text(files["pyproject.toml"], needed=True)
    if kind == "text" and pyproject != files["pyproject.toml"]:
        written["pyproject.toml"] = pyproject
    command = f"make train model={name}" if group == "model" else f"make train model={model} data={name}"
    missing = "" if group == "model" or model else f"make new model=my_net kind={kind}, then "
    return written, f"{missing}{command if not missing else f'make train model=my_net data={name}'}"


def new(root: Path, words: list[str]) -> str:
    """Write the files, and return what was done and what to run next."""
    files = project.read_sources(root)
    written, command = plan(files, words)
    project.write_files(root, files, {**files, **written})
    return "\n".join([*(f"new: wrote {path}" for path in written), f"new: next, run {command}, then make test"])


if __name__ == "__main__":
    try:
        print(new(ROOT, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"new: {error}")
