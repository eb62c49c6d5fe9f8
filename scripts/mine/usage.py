"""What the live part of a test file uses, and what nothing uses any more. Standard library only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from mine.judge import Judge, rows
from mine.mentions import defined

if TYPE_CHECKING:
    from mine.suite import File

Used = dict[str, set[str]]  # names by file
# What pytest and Python load by themselves.
LOADED = ("conftest", "sitecustomize")


def cut_away(judge: Judge, node: ast.AST, dead: set[str]) -> list[ast.expr] | list[ast.AST]:
    """Return the parts of a node that go, where the rest stays."""
    if isinstance(node, ast.IfExp):
        stays = judge.branch(node, dead)
        return [each for each in (node.test, node.body, node.orelse) if each is not stays]
    if isinstance(node, ast.If):
        return [node.test, *(node.orelse if judge.mentions.folded(node.test) else node.body)]
    return [each for row, lost in zip(rows(node), judge.items(node, dead)) if lost for each in row]


def used(judge: Judge, file: File) -> set[str]:
    """Return the names that what lives in a file uses, and `module.name` of other files."""
    dead = judge.dead_names(file)
    found: set[str] = set()
    for statement in file.live:
        _, cuts = judge.verdict(statement, dead)
        skipped = {id(each) for cut in cuts for each in cut_away(judge, cut, dead)}
        own = defined(statement) if not isinstance(statement, (ast.AugAssign, ast.Assign)) else set()
        names = set(_names(statement, skipped)) if skipped else all_names(statement)
        found |= names - own if not isinstance(statement, ast.Assign) else names
    return found


@cache
def all_names(statement: ast.AST) -> frozenset[str]:
    """Return the names that a whole statement uses."""
    return frozenset(_names(statement, set()))


def _names(node: ast.AST, skipped: set[int]) -> Iterable[str]:
    if id(node) in skipped:
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from re.findall(r"\w+\.py\b|^\w+$", node.value)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield f"import {node.module.rpartition('.')[2]}"
        for alias in node.names:
            yield from (f"import {alias.name}", f"{node.module.rpartition('.')[2]}.{alias.name}")
    elif isinstance(node, ast.Import):
        yield from (f"import {alias.name.rpartition('.')[2]}" for alias in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"
    for each in ast.iter_child_nodes(node):
        yield from _names(each, skipped)


def imported(statement: ast.stmt) -> set[str]:
    """Return the names that an import brings."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return set()
    return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}


def leave_unused(judge: Judge, first: Used) -> None:
    """Let go the names and the files that something used once, and nothing uses any more."""
    now = {file.path: set() if file.gone else used(judge, file) for file in judge.files}
    for file in judge.files:
        if file.gone:
            continue
        for statement in list(file.live):
            names = imported(statement) or defined(statement)
            if names and all(_lost(file, name, first, now) for name in names):
                file.live.remove(statement)
        elsewhere = [name for path, found in now.items() if path != file.path for name in found]
        before = [name for path, found in first.items() if path != file.path for name in found]
        known = {f"import {file.module}", f"{file.module}.py"}
        wanted, had = known & set(elsewhere), known & set(before)
        if not file.tests() and not wanted and (file.had_tests or had) and file.module not in LOADED:
            file.gone = True


def _lost(file: File, name: str, first: Used, now: Used) -> bool:
    """Say whether a name was used once, and is no longer."""
    if name.startswith(("test_", "pytest_")):
        return False
    is_conftest = file.module == "conftest"

    def uses(found: Used) -> bool:
        near = name in found[file.path] or any(f"{file.module}.{name}" in each for each in found.values())
        return near or (is_conftest and any(name in each for each in found.values()))

    return uses(first) and not uses(now)
