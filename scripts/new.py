"""Scaffold a model or a dataset:  make new model=my_net kind=images  or  make new data=my_set kind=text

Writes a source file and a config that work without changes. If kind= is omitted, the kind of the default model is used.
Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import project
from project import GROUPS, Files

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
KINDS = ("images", "text")


def parse_args(files: Files, arguments: list[str]) -> tuple[str, str, str]:
    """Return the group, name and kind of the new option.

    Raises:
        ValueError: If an argument is unknown or missing, or the name is invalid or taken.
    """
    options = project.parse_options(arguments, (*GROUPS, "kind"))
    groups = [group for group in GROUPS if group in options]
    if len(groups) != 1:
        raise ValueError(f"Expected model= or data=, got {'both' if groups else 'neither'}. Pass e.g. model=my_net.")
    group = groups[0]
    name, kind = options[group], options.get("kind", "")
    project.validate_identifier(group, name)
    for path in (f"src/{project.find_package(files)}/{group}/{name}.py", f"configs/{group}/{name}.yaml"):
        if path in files or (ROOT / path).exists():
            raise ValueError(f"{path} already exists. Choose another name, e.g. {group}=my_{name}.")
    if kind and kind not in KINDS:
        raise ValueError(f"Invalid value for kind: expected images or text, got '{kind}'. Use e.g. kind=images.")
    model = project.find_default_option(files, "model")
    default = "" if model == "???" else project.find_modality(files, "model", model)
    return group, name, kind or (default if default in KINDS else KINDS[0])


def choose_compatible_option(files: Files, group: str, kind: str) -> str:
    """Return a model or dataset of a kind, or "" if there is none.

    Order of preference: the project's default option, its other options, then a fake dataset or a model of the engine.
    """
    model = project.find_default_option(files, "model")
    default = model if group == "model" or model == "???" else project.find_default_dataset(files, model)
    options = project.list_options(files, group)
    compatible = [name for name in options if project.find_modality(files, group, name) == kind]
    own = [name for name in compatible if project.is_project_option(files, group, name)]
    if default in own:
        return default
    # The other datasets of the engine read files that may not exist.
    rest = [f"fake_{kind}"] if group == "data" else compatible
    return next(iter([*own, *rest]), "")


def plan_files(files: Files, arguments: list[str]) -> tuple[Files, str]:
    """Return the files to write, and the command to run next.

    Raises:
        ValueError: If an argument is invalid.
    """
    group, name, kind = parse_args(files, arguments)
    package = project.find_package(files)
    data, model = choose_compatible_option(files, "data", kind), choose_compatible_option(files, "model", kind)
    class_name = "".join(part.capitalize() for part in name.split("_"))
    placeholders = {"PACKAGE": package, "MyOption": class_name, "my_option": name, "DATA": data}
    written = {f"src/{package}/{group}/{name}.py": ".txt", f"configs/{group}/{name}.yaml": ".yaml.txt"}
    for path, suffix in written.items():
        text = (TEMPLATES / f"{group}_{kind}{suffix}").read_text(encoding="utf-8")
        for old, new in placeholders.items():
            text = text.replace(old, new)
        written[path] = text
    if group == "model" and project.find_default_option(files, "model") == "???":
        path = "configs/train.yaml"
        written[path] = files[path].replace("- model: ???", f"- model: {name}", 1)
    pyproject = project.set_text_extra(files["pyproject.toml"], is_needed=True)
    if kind == "text" and pyproject != files["pyproject.toml"]:
        written["pyproject.toml"] = pyproject
    if group == "model":
        return written, f"make train model={name}"
    if model:
        return written, f"make train model={model} data={name}"
    return written, f"make new model=my_net kind={kind}, then make train model=my_net data={name}"


def new(root: Path, arguments: list[str]) -> str:
    """Write the files, and return the text to print."""
    files = project.read_sources(root)
    written, command = plan_files(files, arguments)
    project.write_files(root, files, {**files, **written})
    created = [f"{'Updated' if path in files else 'Created'} {path}" for path in written]
    return "\n".join([*created, f"Next: {command}, then make test"])


if __name__ == "__main__":
    try:
        print(new(ROOT, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"new: {error}")
