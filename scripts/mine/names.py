"""Which names a project, a model or a data set may take. Standard library only."""

from __future__ import annotations

import keyword
import re
import sys
import sysconfig
from pathlib import Path

from mine.tree import Texts

SOFT_KEYWORDS = {"match", "case", "type", "_"}
# What is imported under another name than it is installed by.
IMPORTS = {
    "gitpython": "git",
    "hydra_core": "hydra",
    "pillow": "PIL",
    "protobuf": "google",
    "python_dateutil": "dateutil",
    "pytest_xdist": "xdist",
    "pyyaml": "yaml",
    "scikit_learn": "sklearn",
    "sentry_sdk": "sentry_sdk",
    "setuptools": "pkg_resources",
}


def plain(distribution: str) -> str:
    """Return a distribution's name as a module might spell it: scikit_learn of scikit-learn."""
    return re.sub(r"[-_.]+", "_", distribution).lower()


def imports(distribution: str) -> set[str]:
    """Return the names by which a distribution may be imported."""
    return {plain(distribution), IMPORTS.get(plain(distribution), plain(distribution))}


def standard_modules() -> set[str]:
    """Return the names of the standard library's modules."""
    known = getattr(sys, "stdlib_module_names", None)  # since Python 3.10
    if known is None:
        folder = Path(sysconfig.get_paths()["stdlib"])
        known = {*sys.builtin_module_names, *(each.stem for each in folder.iterdir()), "tomllib"}
    return set(known)


def distributions(files: Texts) -> set[str]:
    """Return what pyproject.toml and requirements.lock name, as modules might spell it."""
    strings = re.findall(r'"([A-Za-z][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*[<>=!~][^"]*"', files.get("pyproject.toml", ""))
    pinned = re.findall(r"^([A-Za-z][A-Za-z0-9._-]*)==", files.get("requirements.lock", ""), re.MULTILINE)
    return {plain(name) for name in [*strings, *pinned]}


def require_identifier(what: str, name: str) -> None:
    """Refuse what cannot be a module's name, or would hide one of Python's own.

    Raises:
        ValueError: the name is no lower-case identifier, a keyword, or a module of the standard library.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith("_"):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        near = near if re.match(r"[a-z]", near) else f"my_{near}".rstrip("_")
        raise ValueError(
            f"{what} is made of lower-case letters, digits and underscores, a letter first, but {name!r} came: "
            f"type {near}, for one"
        )
    if keyword.iskeyword(name) or name in SOFT_KEYWORDS:
        raise ValueError(f"{what} is no word of Python's own, but {name} is a keyword: type my_{name}, for one")
    if name in standard_modules():
        raise ValueError(f"{what} hides no module, but {name} is one of Python's own: type my_{name}, for one")


def require_free(name: str, present: str, files: Texts) -> None:
    """Refuse a name for the project that is a package's, or that occurs in the tree already.

    A later `make mine` finds the name by its text: it must mean the project wherever it stands.

    Raises:
        ValueError: the name is taken.
    """
    require_identifier("The project's name", name)
    if name == present:
        raise ValueError(f"The project is called {name} already: type another name, or keep= alone")
    for distribution in sorted(distributions(files) - {plain(present)}):
        if name in {each.lower() for each in imports(distribution)}:
            raise ValueError(
                f"The project's name is its own, but {name} is a package that it needs ({distribution}): "
                f"type my_{name}, for one"
            )
    for path in sorted(files):
        if name in re.split(r"[/.]", path):
            raise ValueError(f"The project's name is new to the tree, but there is {path}: type my_{name}, for one")
    for path in sorted(files):
        found = occurrence(name, files[path])
        if found:
            raise ValueError(
                f"The project's name is new to the tree, but line {found} of {path} has {name}: type my_{name}, for one"
            )


def occurrence(name: str, text: str) -> int:
    """Return the line in which a name stands, or 0; the name= of an example and the hashes of a lock do not count."""
    for found in pattern(name).finditer(text):
        if not re.search(r"(name=|--hash=\S*)$", text[max(0, found.start() - 100) : found.start()]):
            return text.count("\n", 0, found.start()) + 1
    return 0


def pattern(name: str) -> re.Pattern[str]:
    r"""Return what finds a name in any case, with - for _, but not within another word; `\n` before it may stand."""
    words = "[-_]".join(map(re.escape, name.split("_")))
    return re.compile(rf"(?:(?<![A-Za-z0-9])|(?<=\\[nt])){words}(?![A-Za-z0-9])", re.IGNORECASE)
