"""What configs/ offers, and which of it a project keeps. Standard library only."""

from __future__ import annotations

import ast
import re
from difflib import get_close_matches
from typing import NamedTuple

from mine.tree import Texts

GROUPS = ("model", "data")


class Keep(NamedTuple):
    """The models and data sets that stay, in the order that was typed, those that go, and what each reads or yields."""

    stay: dict[str, list[str]]
    go: dict[str, set[str]]
    kinds: dict[str, str]

    def instead(self, group: str, name: str) -> str:
        """Return the kept choice that stands in for one that goes: of its kind, or as fake as it is."""
        same = [each for each in self.stay[group] if self.kinds.get(each) == self.kinds.get(name)]
        fakes = [each for each in self.stay[group] if each.startswith("fake_") and name.startswith("fake_")]
        return (same or fakes or self.stay[group])[0]

    def data_of(self, kind: str) -> str:
        """Return the kept data set that a model of this kind trains on."""
        return next(each for each in self.stay["data"] if self.kinds[each] == kind)


def offered(files: Texts, group: str) -> list[str]:
    """Return the choices of a group."""
    found = (re.fullmatch(rf"configs/{group}/(\w+)\.yaml", path) for path in files)
    return sorted(each.group(1) for each in found if each)


def bases(files: Texts, group: str, name: str) -> list[str]:
    """Return the choices of the same group that one builds on."""
    block = re.search(
        r"^defaults:\n((?:[ \t]*(?:-.*|#.*)\n)+)", files[f"configs/{group}/{name}.yaml"] + "\n", re.MULTILINE
    )
    entries = re.findall(r"^\s*-\s*(\w+)\s*(?:#.*)?$", block.group(1), re.MULTILINE) if block else []
    known = [each for each in entries if f"configs/{group}/{each}.yaml" in files]
    return [each for entry in known for each in (*bases(files, group, entry), entry)]


def target(files: Texts, group: str, name: str) -> str:
    """Return the class of a choice, by its path."""
    for each in (name, *bases(files, group, name)):
        found = re.search(
            r"^(?:\w+:\n(?:\s.*\n)*?)?\s*_target_:\s*([\w.]+)", files[f"configs/{group}/{each}.yaml"], re.MULTILINE
        )
        if found:
            return found.group(1)
    return ""


def keys(files: Texts, group: str, name: str) -> set[str]:
    """Return the settings of a choice."""
    written = "\n".join(files[f"configs/{group}/{each}.yaml"] for each in (*bases(files, group, name), name))
    return set(re.findall(r"^\s*(\w+):", written, re.MULTILINE))


def default(files: Texts, group: str) -> str:
    """Return the choice that is taken when none is typed."""
    found = re.search(rf"^\s*- {group}:\s*(\w+)", files["configs/train.yaml"], re.MULTILINE)
    return found.group(1) if found else ""


def kind(files: Texts, path: str) -> str:
    """Return what a class reads or yields: the constant that it or one of its bases gives, or nothing."""
    module, _, name = path.rpartition(".")
    source = files.get(f"src/{module.replace('.', '/')}.py")
    parsed = ast.parse(source) if source else ast.Module([], [])
    found = next((each for each in parsed.body if isinstance(each, ast.ClassDef) and each.name == name), None)
    for item in found.body if found else []:
        written = [item.target] if isinstance(item, ast.AnnAssign) else getattr(item, "targets", [])
        value = getattr(item, "value", None)
        if any(getattr(each, "id", "") in ("reads", "yields") for each in written) and isinstance(value, ast.Constant):
            return str(value.value)
    origins = {
        alias.asname or alias.name: f"{each.module}.{alias.name}"
        for each in parsed.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    above = [getattr(base, "id", "") for base in found.bases] if found else []
    return next((each for base in above if base and (each := kind(files, origins.get(base, f"{module}.{base}")))), "")


def kept(files: Texts, typed: list[str]) -> Keep:
    """Sort the choices into those that stay and those that go.

    Raises:
        ValueError: a name is unknown, or what is left cannot train.
    """
    known = {group: offered(files, group) for group in GROUPS}
    every = [name for names in known.values() for name in names]
    kinds = {name: kind(files, target(files, group, name)) for group in GROUPS for name in known[group]}
    for name in typed:
        if name not in every:
            near = get_close_matches(name, every, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(every)}"
            raise ValueError(f"keep= names models and data sets, but there is no {name}: {hint}")
    stay = {
        group: list(
            dict.fromkeys(each for name in typed if name in known[group] for each in (name, *bases(files, group, name)))
        )
        for group in GROUPS
    }
    require_pairs(stay, known, kinds)
    read = {kinds[name] for name in stay["model"]}
    stay["data"] += [
        name for name in known["data"] if name.startswith("fake_") and kinds[name] in read and name not in stay["data"]
    ]
    return Keep(stay, {group: set(known[group]) - set(stay[group]) for group in GROUPS}, kinds)


def require_pairs(stay: dict[str, list[str]], known: dict[str, list[str]], kinds: dict[str, str]) -> None:
    """Refuse models without data, and data without a model."""
    for group in GROUPS:
        if not stay[group]:
            what = {"model": "a model", "data": "a data set"}[group]
            raise ValueError(f"keep= leaves {what}, but names none of {', '.join(known[group])}: add one of them")
    for group, other, verb in (("model", "data", "reads"), ("data", "model", "is")):
        for name in stay[group]:
            fitting = [each for each in known[other] if kinds[each] == kinds[name]]
            if not set(fitting) & set(stay[other]):
                raise ValueError(
                    f"{name} {verb} {kinds[name]}, but keep= names no {other} for it: add one of {', '.join(fitting)}"
                )
