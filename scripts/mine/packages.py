"""Leave out the packages that nothing needs any more. Standard library only."""

from __future__ import annotations

import ast
import re

from mine.names import imports, plain
from mine.tree import Texts

REQUIREMENT = re.compile(r'"([A-Za-z][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*(?:[<>=!~;][^"]*)?"')


def pruned(before: Texts, after: Texts, package: str, gone: set[str]) -> tuple[Texts, set[str]]:
    """Return the files without the packages that only removed sources use, and those packages as modules spell them."""
    removed = [before[path] for path in gone if path.endswith(".py") and path in before]
    sources = {path: text for path, text in after.items() if path.startswith("src/") and path.endswith(".py")}
    used = {each for text in sources.values() for each in uses(text)}
    no_longer = {each for text in removed for each in uses(text)} - used
    project = after["pyproject.toml"]
    candidates = {name for name in required(project) if imports(name) & no_longer and not imports(name) & used}
    wanted = {each for text in sources.values() for each in uses(text, calls=False)} - optional(sources, package)
    for name in sorted(candidates):
        lost = set(locked(after["requirements.lock"])) - set(locked(cut(after["requirements.lock"], package, {name})))
        # Another package of the project comes with it.
        if any(imports(each) & wanted for each in lost):
            candidates = candidates - {name}
    if not candidates:
        return after, set()
    project, extras = trimmed(project, candidates)
    lock = cut(after["requirements.lock"], package, candidates)
    lost_names = candidates | (set(locked(after["requirements.lock"])) - set(locked(lock)))
    modules = {each for name in lost_names for each in imports(name)}
    project = without_modules(project, modules)
    edited = {path: without_extras(text, extras) for path, text in after.items() if not path.endswith((".py", ".lock"))}
    return {**after, **edited, "pyproject.toml": without_extras(project, extras), "requirements.lock": lock}, modules


def uses(source: str, calls: bool = True) -> set[str]:
    """Return the packages that a source imports, or looks up by a call such as find_spec("sklearn")."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and calls:
            found |= {
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return {each.partition(".")[0] for each in found}


def optional(sources: Texts, package: str) -> set[str]:
    """Return what is imported only by modules that no kept choice reaches."""
    from mine import prune

    named = {path[len("src/") : -len(".py")].replace("/", ".") for path in sources}
    edges = {each: prune.imported(sources[f"src/{each.replace('.', '/')}.py"], named) for each in named}
    begin = {
        each
        for each in named
        if re.match(rf"{package}\.(model|data)\.", each) and not any(each in found for found in edges.values())
    }
    near = prune.reach(begin, edges)
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for path, text in sources.items():
        found[path[len("src/") : -len(".py")].replace("/", ".") in near] |= uses(text, calls=False)
    return found[False] - found[True]


def required(project: str) -> set[str]:
    """Return the distributions that pyproject.toml asks for."""
    lines = [line.partition("#")[0] for line in section(project).splitlines()]
    return {name for line in lines for name in REQUIREMENT.findall(line)}


def section(project: str) -> str:
    """Return the part of pyproject.toml that lists dependencies."""
    found = re.search(r"^dependencies = \[.*?(?=^\[(?!project\.optional))", project, re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


def trimmed(project: str, gone: set[str]) -> tuple[str, set[str]]:
    """Return pyproject.toml without some distributions, and the extras that held nothing else."""
    part = section(project)
    lines, extras = [], set()
    for line in part.splitlines():
        names = REQUIREMENT.findall(line.partition("#")[0])
        live = [each.group() for each in REQUIREMENT.finditer(line.partition("#")[0]) if each.group(1) not in gone]
        inline = re.match(r"([\w-]+) = \[(.*)\]", line)
        if len(live) == len(names):
            lines.append(line)
        elif inline and live:
            lines.append(f"{inline.group(1)} = [{', '.join(live)}]")
        elif inline:
            extras.add(inline.group(1))
            while lines and lines[-1].startswith("#"):
                lines.pop()
    return project.replace(part, "\n".join(lines) + "\n"), extras


def without_modules(project: str, modules: set[str]) -> str:
    """Return pyproject.toml without the overrides for modules that are gone."""
    for name in modules:
        project = re.sub(rf'^[ \t]*"{name}(\.\*)?",?[ \t]*\n', "", project, flags=re.MULTILINE)
        project = re.sub(rf'"{name}\.\*", ?', "", project)
    return project


def without_extras(text: str, extras: set[str]) -> str:
    """Return a text that installs those extras no more."""
    for extra in extras:
        text = re.sub(rf" --extra {extra}\b", "", text)
        text = re.sub(rf"(\.\[(?:[\w-]+,)*){extra},", r"\1", text)
        text = re.sub(rf"(\.\[(?:[\w-]+,)*[\w-]+),{extra}\]", r"\1]", text)
        text = re.sub(rf"\.\[{extra}\]", ".", text)
    return text


def entries(lock: str) -> list[str]:
    """Return the entries of a lock: a package with its hashes, and who asks for it."""
    return re.split(r"(?m)^(?=[A-Za-z])", lock)


def locked(lock: str) -> dict[str, set[str]]:
    """Return who asks for each package."""
    found: dict[str, set[str]] = {}
    for entry in entries(lock):
        name = re.match(r"[A-Za-z0-9._-]+", entry)
        if name:
            via = entry.partition("# via")[2].replace("#", " ").split("\n")
            asking = {each.split()[0] for each in via if each.strip()}
            found.setdefault(name.group(), set()).update(asking)
    return found


def cut(lock: str, package: str, gone: set[str]) -> str:
    """Return a lock without some of what the project asks for, and without what only that needs."""
    own, dropped = plain(package), {plain(name) for name in gone}
    asked = {
        name: {each for each in via if not (plain(each) == own and plain(name) in dropped)}
        for name, via in locked(lock).items()
    }
    lost: set[str] = set()
    while True:
        more = {name for name, via in asked.items() if name not in lost and not via - lost}
        if not more:
            break
        lost |= more
    stay = [entry for entry in entries(lock) if (entry.split("==")[0].split("[")[0]) not in lost]
    return "".join(without_askers(entry, own, dropped, lost) for entry in stay)


def without_askers(entry: str, own: str, dropped: set[str], lost: set[str]) -> str:
    """Return an entry of a lock that no longer names who is gone."""
    head, mark, via = entry.partition("    # via")
    names = [each.strip(" #") for each in via.split("\n") if each.strip(" #")]
    live = [
        each
        for each in names
        if each.split()[0] not in lost
        and not (plain(each.split()[0]) == own and plain(entry.split("==")[0]) in dropped)
    ]
    if not mark or live == names:
        return entry
    told = f" {live[0]}" if len(live) == 1 else "".join(f"\n    #   {each}" for each in live)
    return f"{head}{mark}{told}\n"
