"""Scaffold a model or a dataset:  make new model=my_net kind=multilabel  or  make new data=my_set kind=text

Writes a source file and a config that train without changes.

  model=  kind=classifier (default), multilabel, regressor or plain (a LightningModule); modality=images or text
  data=   kind=images, text or plain (a LightningDataModule)

If modality= of a model or kind= of a dataset is omitted, the default model determines it. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

import project
from json_output import run_script, update_result
from project import GROUPS, Files

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
MODALITIES = ("images", "text")
KINDS = {"model": ("classifier", "multilabel", "regressor", "plain"), "data": (*MODALITIES, "plain")}
TASKS = {"classifier": "classification", "multilabel": "multilabel", "regressor": "regression"}
# What the templates of a model need to know about each kind.
BASES = {
    "classifier": ("Classifier", "ClassifierSettings", "class_names"),
    "multilabel": ("MultiLabelClassifier", "", "label_names"),
    "regressor": ("Regressor", "RegressorSettings", ""),
}
WIDTH_DOCS = {"text": "size of an embedding", "images": "channels of the first convolution"}
NAMES_DOC = "Name of each {noun}, in the order of the logits. The dataset provides it."


def parse_args(files: Files, arguments: list[str]) -> tuple[str, str, str, str]:
    """Return the group, name, kind and modality of the new option; the modality of a plain one is "".

    Raises:
        ValueError: If an argument is unknown, missing or has no effect, or the name is invalid or taken.
    """
    options = project.parse_options(arguments, (*GROUPS, "kind", "modality"))
    groups = [group for group in GROUPS if group in options]
    if len(groups) != 1:
        raise ValueError(f"Expected model= or data=, got {'both' if groups else 'neither'}. Pass e.g. model=my_net.")
    group = groups[0]
    name = options[group]
    project.validate_identifier(group, name)
    modality = find_default_modality(files)
    kind = options.get("kind", "classifier" if group == "model" else modality)
    validate_choice("kind", kind, KINDS[group])
    taken = [group, "data"] if (group, kind) == ("model", "plain") else [group]
    for path in [path for option_group in taken for path in list_paths(files, option_group, name)]:
        if path in files or (ROOT / path).exists():
            raise ValueError(f"{path} already exists. Choose another name, e.g. {group}=my_{name}.")
    if "modality" in options and (group == "data" or kind == "plain"):
        raise ValueError(f"modality= has no effect for {group}= with kind={kind}. Remove it.")
    validate_choice("modality", options.get("modality", modality), MODALITIES)
    if kind == "plain":
        return group, name, kind, ""
    return group, name, kind, kind if group == "data" else options.get("modality", modality)


def validate_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Check that the value of an option is known.

    Raises:
        ValueError: If it is not.
    """
    if value not in known:
        expected = f"{', '.join(known[:-1])} or {known[-1]}"
        raise ValueError(
            f"Invalid value for {option}: expected {expected}, got '{value}'. Use e.g. {option}={known[0]}."
        )


def list_paths(files: Files, group: str, name: str) -> list[str]:
    """Return the source file and the config of an option."""
    return [f"src/{project.find_package(files)}/{group}/{name}.py", f"configs/{group}/{name}.yaml"]


def find_default_modality(files: Files) -> str:
    """Return the modality of the default model, or "images" if it has none."""
    model = project.find_default_option(files, "model")
    found = "" if model == "???" else project.find_modality(files, "model", model)
    return found if found in MODALITIES else MODALITIES[0]


def choose_dataset(files: Files, modality: str, task: str) -> str:
    """Return a dataset for a model: the project's default one, another one of the project, or a fake dataset."""
    model = project.find_default_option(files, "model")
    default = "" if model == "???" else project.find_default_dataset(files, model)
    own = [name for name in project.list_options(files, "data") if project.is_project_option(files, "data", name)]
    fitting = [name for name in own if matches(files, "data", name, modality, task)]
    # The other datasets of the engine read files that may not exist. A fake dataset adapts to the task of the model.
    return default if default in fitting else [*fitting, f"fake_{modality}"][0]


def choose_model(files: Files, modality: str) -> str:
    """Return a model for a dataset with classes, or for a plain one, or "" if there is none."""
    default = project.find_default_option(files, "model")
    task = "classification" if modality else ""
    fitting = [name for name in project.list_options(files, "model") if matches(files, "model", name, modality, task)]
    return default if default in fitting else next(iter(fitting), "")


def matches(files: Files, group: str, name: str, modality: str, task: str) -> bool:
    """Return True if an option has a modality and a task."""
    return project.find_modality(files, group, name) == modality and project.find_task(files, group, name) == task


def make_placeholders(files: Files, name: str, kind: str, modality: str, data: str) -> dict[str, str]:
    """Return the values of the placeholders in the templates of a model and a dataset."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    base, settings, names = BASES.get(kind, ("", "", ""))
    unpack = f"**settings: Unpack[{settings}]" if settings else ""
    names_type = f"{names}: list[str]" if names else ""
    doc = NAMES_DOC.format(noun=names.partition("_")[0])
    imports = [
        f"from firstlight.model.{kind} import {', '.join(filter(None, (base, settings)))}",
        "from firstlight.model.pooling import MeanEmbedding",
    ]
    arguments = [names, "**settings" if settings else ""]
    return {
        "PACKAGE": project.find_package(files),
        "NAME": name,
        "CLASS": class_name,
        "DATA": data,
        "WIDTH": "128" if modality == "text" else "32",
        "WIDTH_DOC": {"text": "size of an embedding", "images": "channels of the first convolution"}.get(
            modality, "size of the hidden layer"
        ),
        "BASE_IMPORT": imports[0],
        "BASE_IMPORT_AND_POOLING": "\n".join(sorted(imports)),
        "BASE": base,
        "UNPACK": ", Unpack" if settings else "",
        "NAMES_DOC": f"\n        {names}: {doc}" if names else "",
        "SETTINGS_DOC": f"\n        settings: See `{settings}`." if settings else "",
        "NAMES": f"{names_type}, " if names else "",
        "NAMES_LINE": f"\n        {names_type}," if names else "",
        "SETTINGS": f", {unpack}" if settings else "",
        "SETTINGS_LINE": f"\n        {unpack}," if settings else "",
        "SUPER": ", ".join(filter(None, arguments)),
        "OUTPUTS": f"len({names})" if names else "1",
    }


def fill_template(template: str, placeholders: dict[str, str]) -> str:
    """Return the text of a template. Braces around other names stay."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name, value in placeholders.items():
        text = text.replace("{" + name + "}", value)
    return text


def write_dataset(files: Files, name: str, kind: str) -> Files:
    """Return the files of a new dataset."""
    placeholders = make_placeholders(files, name, kind, kind, "")
    placeholders["CLASS"] += "DataModule"
    source, config = list_paths(files, "data", name)
    return {
        source: fill_template(f"data_{kind}.txt", placeholders),
        config: fill_template(f"data_{kind}.yaml.txt", placeholders),
    }


def write_model(files: Files, name: str, kind: str, modality: str) -> Files:
    """Return the files of a new model; a plain model comes with a dataset of the same name."""
    data = choose_dataset(files, modality, TASKS[kind]) if modality else name
    placeholders = make_placeholders(files, name, kind, modality, data)
    source, config = list_paths(files, "model", name)
    written = {
        source: fill_template(f"model_{modality or kind}.txt", placeholders),
        config: fill_template("model.yaml.txt", placeholders),
    }
    if project.find_default_option(files, "model") == "???":
        path = "configs/train.yaml"
        written[path] = files[path].replace("- model: ???", f"- model: {name}", 1)
    return written if modality else {**written, **write_dataset(files, name, kind)}


def plan_files(files: Files, arguments: list[str]) -> tuple[Files, str]:
    """Return the files to write, and the command to run next.

    Raises:
        ValueError: If an argument is invalid.
    """
    group, name, kind, modality = parse_args(files, arguments)
    written = write_model(files, name, kind, modality) if group == "model" else write_dataset(files, name, kind)
    pyproject = project.set_text_extra(files["pyproject.toml"], is_needed=True)
    if modality == "text" and pyproject != files["pyproject.toml"]:
        written["pyproject.toml"] = pyproject
    if group == "model":
        return written, f"make train model={name}"
    if model := choose_model(files, modality):
        return written, f"make train model={model} data={name}"
    option = f"modality={modality}" if modality else "kind=plain"
    return written, f"make new model=my_net {option}, then make train model=my_net data={name}"


def new(root: Path, arguments: list[str]) -> str:
    """Write the files, and return the text to print."""
    files = project.read_sources(root)
    written, command = plan_files(files, arguments)
    project.write_files(root, files, {**files, **written})
    update_result(written=list(written), next=command)
    created = [f"{'Updated' if path in files else 'Created'} {path}" for path in written]
    return "\n".join([*created, f"Next: {command}, then make test"])


if __name__ == "__main__":
    run_script("new", lambda arguments: print(new(ROOT, arguments)))
