"""Make this checkout your project:  make init name=zephyr keep=bert,bbc_news

    name=zephyr            name of your package, src/zephyr; left out, it stays as it is
    keep=bert,bbc_news     examples that stay, the first model becomes the default; none deletes all; left out, all stay
    holder="Your Name"     license holder; left out, git's user.name
    force=true             also with uncommitted changes

All edits are made in memory. Nothing is written if one is invalid. No file of the engine changes.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import project
from project import ENGINE, ENGINE_DIRS, GROUPS, TEMPLATE_TABLE, Files

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = "One sentence: what this project trains, on which data, and how well."
FALLBACK = {"images": "image_folder", "text": "text_file"}
# Import names that differ from the name of the distribution.
IMPORTS = {"hydra_core": "hydra", "scikit_learn": "sklearn", "pyyaml": "yaml", "gitpython": "git", "protobuf": "google"}
README = Path(__file__).with_name("templates") / "readme.txt"


def require_free(root: Path, files: Files, name: str) -> None:
    """Reject a name for the project that would hide another module.

    Raises:
        ValueError: If the name is invalid or taken.
    """
    project.require_identifier("name", name)
    pins = "\n".join(text for path, text in files.items() if path.endswith(".lock"))
    found = re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)
    found += re.findall(r'"([\w.-]+)(?:\[[^]]*\])?[<>=!~]', files["pyproject.toml"])
    packages = {re.sub(r"[-_.]+", "_", each).lower() for each in found}
    packages |= {IMPORTS.get(each, each) for each in packages}
    taken = {part for path in files for part in path.split("/")[:-1]}
    taken |= {option for _, option in project.list_all(files)}
    why = ""
    if name in getattr(sys, "stdlib_module_names", ()):
        why = "is a module of the standard library"
    elif name in packages:
        why = "is a dependency"
    elif name in taken or (root / name).exists() or (root / "src" / name).exists():
        why = "is the name of a directory, a config group or an option of this project"
    elif find_spec(name):
        why = "is a module that Python can import already"
    if why:
        raise ValueError(f"Invalid value for name: '{name}' {why}. Use e.g. name=my_{name}.")


def read_keep(files: Files, value: str) -> list[str]:
    """Return the options that keep= names.

    Raises:
        ValueError: If one does not exist.
    """
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if names == ["none"]:
        return []
    known = [name for _, name in project.list_all(files)]
    for name in names:
        if name == "none":
            raise ValueError(f"keep=none deletes all examples, got keep={value}. Use keep=none alone.")
        if name not in known:
            raise ValueError(f"Unknown model or dataset '{name}' in keep=. {project.nearest(name, known)}")
    return names


def three_files(package: str, group: str, name: str) -> list[str]:
    """Return the three files of an example."""
    source = f"src/{package}/{group}/{name}.py"
    return [source, f"configs/{group}/{name}.yaml", f"tests/{package}/test_{name}.py"]


def delete_examples(files: Files, package: str, keep: list[str], first: bool) -> Files:
    """Return the files without the examples that are not kept, and without the experiments that name one of them."""
    options = project.list_all(files)
    examples = {each: three_files(package, *each) for each in options}
    gone = {each for each, paths in examples.items() if each[1] not in keep and set(paths) <= set(files)}
    # What an option that stays builds on stays too.
    gone -= {(group, project.find_base(files, group, name)) for group, name in set(options) - gone}
    deleted = {path for each in gone for path in examples[each]}
    places = ("configs/experiment/", "notebooks/") if first else ("configs/experiment/",)
    for path in [path for path in files if path.startswith(places)]:
        lines = [line for line in files[path].splitlines() if not line.lstrip().startswith("#")]
        named = re.findall(r"\b(model|data)(?:=|: *)([\w,]+)", "\n".join(lines))
        if any((group, name) in gone for group, names in named for name in names.split(",")):
            deleted.add(path)
    return {path: text for path, text in files.items() if path not in deleted}


def set_defaults(files: Files, keep: list[str]) -> Files:
    """Return the files with a kept model as the default, and an existing dataset for each model."""
    files = dict(files)
    models, datasets = (project.list_options(files, group) for group in GROUPS)
    current = project.find_default(files, "model")
    default = next((name for name in keep if name in models), current if current in models else "???")
    line = re.compile(r"^(\s*- model: *)[\w?]+", re.MULTILINE)
    files["configs/train.yaml"] = line.sub(rf"\g<1>{default}", files["configs/train.yaml"], count=1)
    kinds = {name: project.find_kind(files, project.find_target(files, "data", name)) for name in datasets}
    for model in models:
        path, kind = f"configs/model/{model}.yaml", project.find_kind(files, project.find_target(files, "model", model))
        named = [name for name in keep if name in datasets and kinds[name] == kind]
        fallback = FALLBACK.get(kind, "???")
        if project.find_data(files, model) not in datasets:
            data = named[0] if named else fallback if fallback in datasets else "???"
            files[path] = re.sub(r"(- override /data: *)[\w?]+", rf"\g<1>{data}", files[path])
    own = [each for each in project.list_all(files) if each[1] in keep or project.is_own(files, *each)]
    if not any(project.needs_text(files, *each) for each in own):
        files["pyproject.toml"] = project.set_extra_text(files["pyproject.toml"], needed=False)
        conda = files.get("environment.yml", "")
        files |= {"environment.yml": re.sub(r"(\.\[|,)text,?(?=.*\])", r"\1", conda)} if conda else {}
    return files


def rename(files: Files, old: str, new: str) -> Files:
    """Return the files with the package under its new name: paths, imports and dotted names.

    The name may also be a word of a text, so only references to the package are replaced.
    """
    inside = {path.split("/")[2].partition(".")[0] for path in files if path.startswith(f"src/{old}/")}
    dotted = rf"(?<![\w./-]){old}(?=\.(?:{'|'.join(sorted(inside))})\b)"
    alone = rf"(?:(?<=\bsrc/)|(?<=\btests/)){old}\b|(?<=\bfrom ){old}(?= import\b)|(?<=\bimport ){old}(?=$| as |\\n)"
    found, moved = re.compile(f"{dotted}|{alone}", re.MULTILINE), re.compile(rf"^(src|tests)/{old}/")
    return {moved.sub(rf"\1/{new}/", path): found.sub(new, text) for path, text in files.items()}


def set_names(files: Files, old: str, new: str) -> Files:
    """Return the files with the project's name where the engine's or the old one stands."""
    names = rf"(?:{ENGINE}|{old})"
    places = {
        "pyproject.toml": rf'(^name = "|^sections\.project = \["){names}(?=")',
        "configs/trusted.yaml": rf"^(- ){old}\b",
        "environment.yml": rf"(^name: *|conda activate ){names}\b",
        "README.md": rf"\A(# ){names}\b",
        **{path: rf"^( *project: *){names}\b" for path in files if path.startswith(("sweeps/", "configs/logger/"))},
    }
    changed = {
        path: re.sub(pattern, rf"\g<1>{new}", files[path], flags=re.MULTILINE)
        for path, pattern in places.items()
        if path in files
    }
    return {**files, **changed}


def set_holder(text: str, holder: str) -> str:
    """Return the license with the project's holder after the first one, whose line the MIT license asks to keep."""
    first, *others = re.findall(r"^Copyright .*\n", text, re.MULTILINE) or [""]
    own = f"Copyright (c) {date.today().year} {holder}\n"
    return text.replace(others[0], own, 1) if others else text.replace(first, first + own, 1)


def begin(root: Path, files: Files, name: str) -> Files:
    """Return the files of a project that starts: README, version, description, and the template it came from."""
    model = project.find_default(files, "model")
    quick = "make new model=my_net kind=images   # a model to fill in, which becomes the default"
    quick = quick if model == "???" else f"make train        # {model} on {project.find_data(files, model)}"
    readme = README.read_text(encoding="utf-8").format(name=name, sentence=SENTENCE, quick=quick)
    url = re.sub(r"//[^/@]*@", "//", project.git(root, "remote", "get-url", "origin") or "")  # without a password
    version = json.loads(files.get(f"src/{ENGINE}/manifest.json", "{}")).get("version", "")
    origin = {"url": url, "commit": project.git(root, "rev-parse", "HEAD") or "", "version": version}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**origin, "removed": []}.items())
    text = re.sub(r'^version = ".*"', 'version = "0.1.0"', files["pyproject.toml"], count=1, flags=re.MULTILINE)
    text = re.sub(r'^description = ".*"', f'description = "{SENTENCE}"', text, count=1, flags=re.MULTILINE)
    return {**files, "README.md": readme, "pyproject.toml": f"{text.rstrip()}\n\n{TEMPLATE_TABLE}\n{table}"}


def plan(root: Path, words: list[str]) -> tuple[Files, Files, str]:
    """Return the files before and after, and the name of the project.

    Raises:
        ValueError: If an option is invalid, or the checkout has uncommitted changes.
    """
    given = project.read_options(words, ("name", "keep", "holder", "force"))
    before = project.read_files(root)
    old, first = project.find_package(before), TEMPLATE_TABLE not in before["pyproject.toml"]
    if not given or (first and "name" not in given):
        raise ValueError("Option 'name' is missing. Use e.g. make init name=zephyr keep=none.")
    new = given.get("name", old)
    if new != old:
        require_free(root, before, new)
    if given.get("force", "false") not in ("true", "false"):
        raise ValueError(f"Invalid value for force: expected true or false, got {given['force']}. Use force=true.")
    changed = project.git(root, "status", "--porcelain", "--", ".")
    if changed and given.get("force") != "true":
        path = changed.splitlines()[0].split(maxsplit=1)[1]
        raise ValueError(f"{path} has uncommitted changes, which could get lost. Commit them, or set force=true.")
    after = dict(before)
    if "keep" in given:
        keep = read_keep(before, given["keep"])
        after = set_defaults(delete_examples(after, old, keep, first), keep)
    after = begin(root, after, new) if first else after
    engine = {path: text for path, text in after.items() if path.startswith(ENGINE_DIRS)}
    yours = {path: text for path, text in after.items() if path not in engine}
    yours = set_names(rename(yours, old, new), old, new)
    holder = given.get("holder") or (first and (project.git(root, "config", "user.name") or f"{new} authors"))
    if holder and "LICENSE" in yours:
        yours["LICENSE"] = set_holder(yours["LICENSE"], holder)
    return before, {**engine, **yours}, new


def init(root: Path, words: list[str]) -> str:
    """Edit the checkout, and return what was done and what to do next."""
    before, after, name = plan(root, words)
    project.write_files(root, before, after)
    edited = sum(before.get(path) != text for path, text in after.items())
    model, deleted = project.find_default(after, "model"), before.keys() - after.keys()
    stale = sorted(path for path in deleted if path.startswith(("configs/experiment/", "notebooks/")))
    lines = [
        f"init: this is {name}. {edited} files written, {len(deleted)} moved or deleted.",
        *(f"init: deleted {path}, which names a deleted example" for path in stale),
        "Next:",
        "  make setup check test   install, and test everything",
        "  edit README.md          replace the sentence after the title",
        "  make new model=my_net   add a model; make new data=my_set adds a dataset",
        *([] if model == "???" else [f"  make train              train {model} on {project.find_data(after, model)}"]),
        f"  git add -A && git commit -m 'Start {name}'",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(init(ROOT, sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"init: {error}")
