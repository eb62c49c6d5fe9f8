"""Leave out examples: models and data sets, and whatever served them alone. Standard library only."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from mine import choices, packages, prose, suite
from mine.choices import GROUPS, Keep
from mine.tree import Texts


class Gone(NamedTuple):
    """What goes, in all the forms by which a text may name it."""

    keep: Keep
    choices: dict[str, set[str]]  # by group, experiments too
    classes: set[str]  # by name
    modules: set[str]  # dotted, without the package
    packages: set[str]  # as modules spell them
    paths: set[str]  # files, and folders with a / at their end
    settings: set[str]  # that no choice has any more, such as data.root

    def names(self) -> set[str]:
        """Return the names of choices."""
        return {name for names in self.choices.values() for name in names}

    def word(self, group: str, value: str) -> str:
        """Return what to type instead of the value of model=, data= and the like; nothing if there is no such thing."""
        groups = GROUPS if group == "keep" else (group.rstrip("s") if group != "models" else "model",)
        listed = [each for each in value.strip("[]").split(",") if each]
        live = [each for each in listed if not any(each in self.choices.get(one, ()) for one in groups)]
        if len(live) < len(listed):
            if group == "keep":
                live = [name for one in GROUPS for name in self.keep.stay[one] if not name.startswith("fake_")]
            elif not live and groups[0] in GROUPS:
                live = [self.keep.instead(groups[0], listed[0])]
        typed = ",".join(live)
        return f"[{typed}]" if value.startswith("[") and live else typed

    def other_recipe(self, command: str, told: str) -> bool:
        """Say whether a command's settings were meant for a model of another kind."""
        models = [re.search(r"(?<![\w.])model=(\w+)", each) for each in (command, told)]
        kinds = {self.keep.kinds.get(each.group(1)) for each in models if each}
        return len(kinds) > 1 and bool(re.search(r"optimizer|scheduler|(?<![\w.])model\.", command))


def without(files: Texts, package: str, keep: list[str], folders: list[str]) -> Texts:
    """Return the files without the examples that are not kept, and without some folders.

    Raises:
        ValueError: what is kept cannot train, or does not exist.
    """
    after = {path: text for path, text in files.items() if not path.startswith(tuple(folders) or ("\0",))}
    if not keep:
        # Nothing is parsed, which Python 3.9 could not.
        all_stay = Keep({group: choices.offered(files, group) for group in GROUPS}, {}, {})
        gone = Gone(
            all_stay, {group: set() for group in (*GROUPS, "experiment")}, set(), set(), set(), set(folders), set()
        )
        after = {path: retold(path, text, gone) for path, text in after.items()} if folders else after
        after, tests = suite.pruned(after, package, gone)
        return prose.pruned(files, after, gone, tests)
    keeping = choices.kept(files, keep)
    after, gone = pruned_sources(after, package, keeping, set(folders))
    gone.choices["model"] |= examples(after, keeping)
    after = {path: configured(path, text, gone) if path.endswith(".yaml") else text for path, text in after.items()}
    after, modules = packages.pruned(files, after, package, gone.paths)
    gone = gone._replace(packages=modules)
    after = {path: retold(path, text, gone) for path, text in after.items()}
    after, tests = suite.pruned(after, package, gone)
    return prose.pruned(files, after, gone, tests)


def examples(files: Texts, keep: Keep) -> set[str]:
    """Return the models that pages show as examples, of a kind that is left out."""
    kinds = {keep.kinds[name] for name in keep.stay["model"]}
    found = set()
    for path, text in files.items():
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if path.endswith(".md") else ():
            name = re.search(r"^# src/\w+/(?:model|data)/(\w+)\.py", block)
            kind = re.search(r'\breads\b[^=\n]*= *"(\w+)"', block) or re.search(
                r"^class \w+\((Image|Text)", block, re.MULTILINE
            )
            if (
                name
                and kind
                and kind.group(1).lower().replace("image", "images").replace("imagess", "images") not in kinds
            ):
                found.add(name.group(1))
    return found


def pruned_sources(files: Texts, package: str, keep: Keep, folders: set[str]) -> tuple[Texts, Gone]:
    """Return the files without configs and modules that go, and what that is."""
    paths = {f"configs/{group}/{name}.yaml" for group in GROUPS for name in keep.go[group]}
    paths |= {path for path in files if path.endswith(".ipynb") and shows(files[path], keep)}
    experiments = {path for path in files if path.startswith("configs/experiment/") and lost(files[path], keep)}
    staying = {choices.target(files, group, name) for group in GROUPS for name in keep.stay[group]}
    targets = {choices.target(files, group, name) for group in GROUPS for name in keep.go[group]} - staying
    rest = {path: text for path, text in files.items() if path not in paths | experiments}
    modules = unreached(rest, package, {each.rpartition(".")[0] for each in targets})
    sources = {f"src/{each.replace('.', '/')}.py" for each in modules}
    gone = Gone(
        keep,
        {**keep.go, "experiment": {path.split("/")[-1][: -len(".yaml")] for path in experiments}},
        {each.rpartition(".")[2] for each in targets if each.rpartition(".")[0] in modules},
        {each.partition(".")[2] for each in modules},
        set(),
        paths | experiments | sources | folders,
        {
            f"{group}.{key}"
            for group in GROUPS
            for key in settings(files, group, keep.go[group]) - settings(files, group, set(keep.stay[group]))
        },
    )
    return {path: text for path, text in rest.items() if path not in sources}, gone


def settings(files: Texts, group: str, chosen: set[str]) -> set[str]:
    """Return the settings of some choices."""
    return {key for name in chosen for key in choices.keys(files, group, name)}


def lost(text: str, keep: Keep) -> bool:
    """Say whether an experiment builds on a choice that goes, with none of its kind left."""
    for group, name in re.findall(r"^\s*- override /(\w+)[^:\n]*:\s*(\w+)", text, re.MULTILINE):
        if name in keep.go.get(group, ()) and keep.kinds[keep.instead(group, name)] != keep.kinds[name]:
            return True
    return False


def shows(notebook: str, keep: Keep) -> bool:
    """Say whether a notebook uses a choice that goes: its pictures are made for that."""
    return any(name in keep.go[group] for group, name in re.findall(r"\b(model|data)=(\w+)", notebook))


def unreached(files: Texts, package: str, targets: set[str]) -> set[str]:
    """Return the modules of these targets, and those that nothing else imports."""
    modules = {
        path[len("src/") : -len(".py")].replace("/", "."): path
        for path in files
        if path.startswith(f"src/{package}/") and path.endswith(".py") and not path.endswith("__init__.py")
    }
    edges = {module: imported(files[path], set(modules)) for module, path in modules.items()}
    reached_by_some = {each for found in edges.values() for each in found}
    named = {each for path in files if path.endswith((".yaml", "Makefile")) for each in dotted(files[path], package)}
    roots = {each for each in modules if each not in reached_by_some | targets} | (named & set(modules))
    return reach(targets & set(modules), edges) - reach(roots, edges)


def reach(begin: set[str], edges: dict[str, set[str]]) -> set[str]:
    """Return all modules that some import, directly or not, and themselves."""
    found, waiting = set(begin), list(begin)
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def imported(source: str, modules: set[str]) -> set[str]:
    """Return the modules that a source imports, or names in a string."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"[a-z_]\w*(?:\.\w+)+", node.value))
    return {each for each in found | {each.rpartition(".")[0] for each in found} if each in modules}


def dotted(text: str, package: str) -> set[str]:
    """Return the modules that a text names, those of classes included."""
    found = set(re.findall(rf"\b{package}(?:\.\w+)+", text))
    return found | {each.rpartition(".")[0] for each in found}


def configured(path: str, text: str, gone: Gone) -> str:
    """Return a config without the choices that go; where it needs one, with one that stays."""
    keep = gone.keep
    first = keep.stay["model"][0]
    found = re.search(r"configs/model/(\w+)\.yaml", path)
    kind = keep.kinds[found.group(1) if found else first]

    def default(entry: re.Match[str]) -> str:
        start, group, name = entry.groups()
        wrong_kind = group == "data" and not path.startswith("configs/experiment/") and keep.kinds.get(name) != kind
        if name not in keep.go[group] and not (wrong_kind and keep.go["data"] | keep.go["model"]):
            return entry.group()
        experiment = path.startswith("configs/experiment/")
        return start + (keep.data_of(kind) if group == "data" and not experiment else keep.instead(group, name))

    text = re.sub(r"^(\s*- (?:override )?/?(model|data)(?:@[\w.]+)?:\s*)(\w+)", default, text, flags=re.MULTILINE)
    for name in gone.names():
        # A block under its name, an item of a list, and a value.
        text = re.sub(rf"^([ \t]*){name}:[^\n]*\n(?:\1[ \t]+[^\n]*\n)+", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^[ \t]*- {name}\b[ \t]*(#[^\n]*)?\n", "", text, flags=re.MULTILINE)
        group = "model" if name in keep.go["model"] else "data"
        if name not in gone.choices["experiment"]:
            text = re.sub(rf"(\bvalue: *){name}\b", rf"\g<1>{keep.instead(group, name)}", text)
    return re.sub(r"\[([\w, ]+)\]", lambda found: listed(found, gone), text)


def listed(found: re.Match[str], gone: Gone) -> str:
    """Return a list of YAML without what goes; it stays as it was if nothing would be left."""
    items = [each.strip() for each in found.group(1).split(",")]
    live = [each for each in items if each not in gone.names()]
    if not live and items[0] in gone.keep.go["model"]:
        live = [gone.keep.stay["model"][0]]
    return f"[{', '.join(live)}]" if live and live != items else found.group()


def retold(path: str, text: str, gone: Gone) -> str:
    """Return a source or config whose comments, hints and lists name what stays."""
    if path.startswith(("src/", "scripts/")) and path.endswith(".py"):
        text = suite.shortened(
            text, {name for names in gone.keep.go.values() for name in names} | spelled(gone.packages)
        )
    if path.startswith(("src/", "configs/", "sweeps/", "scripts/doctor")):
        text = prose.retyped(text, gone)
        text = (
            re.sub(r"[;,]? ?\b(docs/)?measured/ [^.;\n]*\.?(?=\n)", ".", text)
            if "docs/measured/" in gone.paths
            else text
        )
        if not path.endswith((".py", ".yaml")):
            for name in gone.choices["model"]:
                text = re.sub(rf"\b{name}\b", gone.keep.instead("model", name), text)
    return text


def spelled(packages: set[str]) -> set[str]:
    """Return packages as modules and as distributions spell them."""
    return packages | {each.replace("_", "-") for each in packages}
