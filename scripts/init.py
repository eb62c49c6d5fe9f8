"""Turn this checkout into your project:  make init name=zephyr keep=bert,bbc_news

    name=zephyr            name of your package, src/zephyr; if omitted, the name does not change
    keep=bert,bbc_news     examples to keep; the first model becomes the default; none deletes all; if omitted, all stay
    holder="Your Name"     license holder; if omitted, git's user.name
    force=true             run although there are uncommitted changes

All edits are made in memory first, so that nothing is written if an argument is invalid. Engine files do not change.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import project
from json_output import run_script, update_result
from project import ENGINE, ENGINE_DIRS, GROUPS, TEMPLATE_TABLE, Files
from repository import get_git_output

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = "One sentence: what this project trains, on which data, and how well."
# Dataset of a model whose own dataset is deleted, by modality.
FALLBACK_DATASETS = {"images": "image_folder", "text": "text_file"}
# Normalized distribution name -> import name, where they differ.
IMPORTS = {"hydra_core": "hydra", "scikit_learn": "sklearn", "pyyaml": "yaml", "gitpython": "git", "protobuf": "google"}
NAMED_FILES = re.compile(r"sweeps/|configs/logger/")  # W&B projects and MLflow experiments
README_TEMPLATE = Path(__file__).with_name("templates") / "readme.txt"


def validate_project_name(root: Path, files: Files, name: str) -> None:
    """Check that the name of the project does not shadow another module.

    Raises:
        ValueError: If the name is invalid or taken.
    """
    project.validate_identifier("name", name)
    locks = "\n".join(text for path, text in files.items() if path.endswith(".lock"))
    distributions = re.findall(r"^([\w.-]+)==", locks, re.MULTILINE)
    distributions += re.findall(r'"([\w.-]+)(?:\[[^]]*\])?[<>=!~]', files["pyproject.toml"])
    packages = {re.sub(r"[-_.]+", "_", distribution).lower() for distribution in distributions}
    packages |= {IMPORTS.get(package, package) for package in packages}
    taken = {part for path in files for part in path.split("/")[:-1]}
    taken |= {option for _, option in project.list_models_and_datasets(files)}
    reason = ""
    if name in getattr(sys, "stdlib_module_names", ()):
        reason = "is a module of the Python standard library"
    elif name in packages:
        reason = "is a dependency"
    elif name in taken or (root / name).exists() or (root / "src" / name).exists():
        reason = "is the name of a directory, a config group or an option of this project"
    elif find_spec(name):
        reason = "is an installed module"
    if reason:
        raise ValueError(f"Invalid value for name: '{name}' {reason}. Use e.g. name=my_{name}.")


def parse_keep(files: Files, value: str) -> list[str]:
    """Return the models and datasets in keep=.

    Raises:
        ValueError: If one of them does not exist.
    """
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if names == ["none"]:
        return []
    known = [name for _, name in project.list_models_and_datasets(files)]
    for name in names:
        if name == "none":
            raise ValueError(
                f"keep=none cannot be combined with names, got keep={value}. Pass keep=none or keep=<names>."
            )
        if name not in known:
            raise ValueError(f"Unknown model or dataset '{name}' in keep=. {project.suggest_name(name, known)}")
    return names


def list_example_files(package: str, group: str, name: str) -> list[str]:
    """Return the three files of an example: source, config and test."""
    source = f"src/{package}/{group}/{name}.py"
    return [source, f"configs/{group}/{name}.yaml", f"tests/{package}/test_{name}.py"]


def delete_examples(files: Files, package: str, keep: list[str], is_template: bool) -> Files:
    """Remove the examples that are not kept, and the experiments and notebooks that use one of them.

    Args:
        files: The files of the checkout.
        package: Name of the package with the examples.
        keep: Names of the models and datasets to keep.
        is_template: Whether the checkout is not a project yet. The notebooks of a project are never deleted.
    """
    options = project.list_models_and_datasets(files)
    examples = {option: list_example_files(package, *option) for option in options}
    removed = {option for option, paths in examples.items() if option[1] not in keep and set(paths) <= set(files)}
    # Keep the options that a kept option extends.
    removed -= {(group, project.find_base_option(files, group, name)) for group, name in set(options) - removed}
    deleted = {path for option in removed for path in examples[option]}
    directories = ("configs/experiment/", "notebooks/") if is_template else ("configs/experiment/",)
    for path in [path for path in files if path.startswith(directories)]:
        lines = [line for line in files[path].splitlines() if not line.lstrip().startswith("#")]
        selected = re.findall(r"\b(model|data)(?:=|: *)([\w,]+)", "\n".join(lines))
        if any((group, name) in removed for group, names in selected for name in names.split(",")):
            deleted.add(path)
    return {path: text for path, text in files.items() if path not in deleted}


def set_defaults(files: Files, keep: list[str]) -> Files:
    """Select a kept model as the default, and an existing dataset for each model."""
    files = dict(files)
    models, datasets = (project.list_options(files, group) for group in GROUPS)
    current = project.find_default_option(files, "model")
    default = next((name for name in keep if name in models), current if current in models else "???")
    line = re.compile(r"^(\s*- model: *)[\w?]+", re.MULTILINE)
    files["configs/train.yaml"] = line.sub(rf"\g<1>{default}", files["configs/train.yaml"], count=1)
    modalities = {name: project.find_modality(files, "data", name) for name in datasets}
    for model in models:
        path, modality = f"configs/model/{model}.yaml", project.find_modality(files, "model", model)
        compatible = [name for name in keep if name in datasets and modalities[name] == modality]
        fallback = FALLBACK_DATASETS.get(modality, "???")
        if project.find_default_dataset(files, model) not in datasets:
            data = compatible[0] if compatible else fallback if fallback in datasets else "???"
            files[path] = re.sub(r"(- override /data: *)[\w?]+", rf"\g<1>{data}", files[path])
    options = project.list_models_and_datasets(files)
    own = [option for option in options if option[1] in keep or project.is_project_option(files, *option)]
    if not any(project.needs_text_packages(files, *option) for option in own):
        files["pyproject.toml"] = project.set_text_extra(files["pyproject.toml"], is_needed=False)
        conda = files.get("environment.yml", "")
        files |= {"environment.yml": re.sub(r"(\.\[|,)text,?(?=.*\])", r"\1", conda)} if conda else {}
    return files


def rename_package(files: Files, old: str, new: str) -> Files:
    """Rename the package in paths, imports and dotted names.

    The old name can also occur as an ordinary word, so only references to the package are replaced.
    """
    modules = {path.split("/")[2].partition(".")[0] for path in files if path.startswith(f"src/{old}/")}
    dotted = rf"(?<![\w./-]){old}(?=\.(?:{'|'.join(sorted(modules))})\b)"
    bare = rf"(?:(?<=\bsrc/)|(?<=\btests/)){old}\b|(?<=\bfrom ){old}(?= import\b)|(?<=\bimport ){old}(?=$| as |\\n)"
    reference, directory = re.compile(f"{dotted}|{bare}", re.MULTILINE), re.compile(rf"^(src|tests)/{old}/")
    return {directory.sub(rf"\1/{new}/", path): reference.sub(new, text) for path, text in files.items()}


def set_names(files: Files, old: str, new: str) -> Files:
    """Replace the name of the engine or the old name of the project, e.g. in pyproject.toml and environment.yml."""
    names = rf"(?:{ENGINE}|{old})"
    patterns = {
        "pyproject.toml": rf'(^name = "|^sections\.project = \["){names}(?=")',
        "configs/trusted.yaml": rf"^(- ){old}\b",
        "environment.yml": rf"(^name: *|conda activate ){names}\b",
        "README.md": rf"\A(# ){names}\b",
        **dict.fromkeys(filter(NAMED_FILES.match, files), rf"^( *(?:project|experiment_name): .*?\b){names}\b"),
    }
    changed = {
        path: re.sub(pattern, rf"\g<1>{new}", files[path], flags=re.MULTILINE)
        for path, pattern in patterns.items()
        if path in files
    }
    return {**files, **changed}


def set_license_holder(text: str, holder: str) -> str:
    """Add or replace the project's copyright line below the first one, which the MIT license requires to keep."""
    first, *others = re.findall(r"^Copyright .*\n", text, re.MULTILINE) or [""]
    line = f"Copyright (c) {date.today().year} {holder}\n"
    return text.replace(others[0], line, 1) if others else text.replace(first, first + line, 1)


def reset_project_files(root: Path, files: Files, name: str) -> Files:
    """Write a new README, reset version and description, and record the template in pyproject.toml."""
    model = project.find_default_option(files, "model")
    quick = "make new model=my_net                # scaffold a model, which becomes the default"
    if model != "???":
        quick = f"make train        # {model} on {project.find_default_dataset(files, model)}"
    readme = README_TEMPLATE.read_text(encoding="utf-8").format(name=name, sentence=SENTENCE, quick=quick)
    # Do not record a password in the URL.
    url = re.sub(r"//[^/@]*@", "//", get_git_output(root, "remote", "get-url", "origin") or "")
    version = json.loads(files.get(f"src/{ENGINE}/manifest.json", "{}")).get("version", "")
    template = {"url": url, "commit": get_git_output(root, "rev-parse", "HEAD") or "", "version": version}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**template, "removed": []}.items())
    text = re.sub(r'^version = ".*"', 'version = "0.1.0"', files["pyproject.toml"], count=1, flags=re.MULTILINE)
    text = re.sub(r'^description = ".*"', f'description = "{SENTENCE}"', text, count=1, flags=re.MULTILINE)
    return {**files, "README.md": readme, "pyproject.toml": f"{text.rstrip()}\n\n{TEMPLATE_TABLE}\n{table}"}


def plan_edits(root: Path, arguments: list[str]) -> tuple[Files, Files, str]:
    """Return the files before and after all edits, and the name of the project.

    Raises:
        ValueError: If an argument is invalid, or the checkout has uncommitted changes.
    """
    options = project.parse_options(arguments, ("name", "keep", "holder", "force"))
    before = project.read_files(root)
    old, is_template = project.find_package(before), TEMPLATE_TABLE not in before["pyproject.toml"]
    if not options or (is_template and "name" not in options):
        raise ValueError("Option 'name' is missing. Run e.g. `make init name=zephyr keep=none`.")
    new = options.get("name", old)
    if new != old:
        validate_project_name(root, before, new)
    if options.get("force", "false") not in ("true", "false"):
        raise ValueError(f"Invalid value for force: expected true or false, got '{options['force']}'. Use force=true.")
    changed = get_git_output(root, "status", "--porcelain", "--", ".")
    if changed and options.get("force") != "true":
        path = changed.splitlines()[0].split(maxsplit=1)[1]
        raise ValueError(f"{path} has uncommitted changes, which could be lost. Commit them, or pass force=true.")
    after = dict(before)
    if "keep" in options:
        keep = parse_keep(before, options["keep"])
        after = set_defaults(delete_examples(after, old, keep, is_template), keep)
    after = reset_project_files(root, after, new) if is_template else after
    engine = {path: text for path, text in after.items() if path.startswith(ENGINE_DIRS)}
    yours = {path: text for path, text in after.items() if path not in engine}
    yours = set_names(rename_package(yours, old, new), old, new)
    author = get_git_output(root, "config", "user.name") or f"{new} authors"
    holder = options.get("holder") or (author if is_template else None)
    if holder and "LICENSE" in yours:
        yours["LICENSE"] = set_license_holder(yours["LICENSE"], holder)
    return before, {**engine, **yours}, new


def init(root: Path, arguments: list[str]) -> str:
    """Edit the checkout, and return the text to print: a summary and the next steps."""
    before, after, name = plan_edits(root, arguments)
    project.write_files(root, before, after)
    deleted = before.keys() - after.keys()
    written = sorted(path for path, text in after.items() if before.get(path) != text)
    update_result(name=name, written=written, deleted=sorted(deleted))
    dependents = sorted(path for path in deleted if path.startswith(("configs/experiment/", "notebooks/")))
    model = project.find_default_option(after, "model")
    train = "" if model == "???" else f"train {model} on {project.find_default_dataset(after, model)}"
    lines = [
        f"Initialized project {name}: {len(written)} files written, {len(deleted)} moved or deleted.",
        *(f"Deleted {path}, which uses a deleted example." for path in dependents),
        "Next:",
        "  make setup check test   install the dependencies, and test everything",
        "  edit README.md          replace the sentence after the title",
        "  make new model=my_net   scaffold a model; make new data=my_set: a dataset",
        *([f"  make train              {train}"] if train else []),
        f"  git add -A && git commit -m 'Start {name}'",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_script("init", lambda arguments: print(init(ROOT, arguments)))
