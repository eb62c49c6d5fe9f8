"""Whether a piece of a test speaks of what goes. Standard library only."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mine.prune import Gone


class Mentions:
    """Judges strings, names and nodes by what goes."""

    def __init__(self, gone: Gone, package: str) -> None:
        """Keep what is looked for."""
        self.gone, self.package = gone, package
        self.names = gone.names()
        self.modules = {f"{package}.{each}" for each in gone.modules}
        files = {"/".join(path.split("/")[-2:]) for path in gone.paths if not path.endswith("/")}
        words = [
            *(rf"(?<![\w/]){re.escape(each)}" for each in gone.paths if each.endswith("/")),
            *map(re.escape, files),
        ]
        # model.weights.load is in a module, model.weights=null is a setting.
        words += [rf"\b(?:{package}\.)?{re.escape(each)}\b(?!=)" for each in gone.modules]
        words += [rf"\b{each}\b" for each in gone.classes]
        self.pattern = re.compile("|".join(words) or r"(?!)")

    def text(self, value: str) -> bool:
        """Say whether a string does."""
        if value in self.names or self.pattern.search(value):
            return True
        typed = re.findall(r"\b(model|data|experiment|models|keep)=(\[[\w, ]*\]|[\w,]+)", value)
        return any(self.gone.word(group, words.replace(" ", "")) != words.replace(" ", "") for group, words in typed)

    def module(self, name: str) -> bool:
        """Say whether an import would fail."""
        first = name.partition(".")[0]
        return first in self.gone.packages or any(name == each or name.startswith(f"{each}.") for each in self.modules)

    def folded(self, test: ast.expr) -> bool | None:
        """Return what a comparison with a choice that goes always gives; None if it is no such comparison."""
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return None
        sides = [test.left, *test.comparators]
        named = any(isinstance(each, ast.Constant) and each.value in self.names for each in sides)
        if not named or not isinstance(test.ops[0], (ast.Eq, ast.NotEq)):
            return None
        return isinstance(test.ops[0], ast.NotEq)


def docstring(node: ast.AST) -> ast.AST | None:
    """Return the docstring of a function or class."""
    body = getattr(node, "body", None)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)) and body:
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return first
    return None


@cache
def bound(node: ast.AST) -> set[str]:
    """Return the names that a function gives to things of its own, its arguments left out."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return set()
    stores = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    inner = {
        each.name for each in ast.walk(node) if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and each is not node
    }
    return stores | inner


def defined(statement: ast.stmt) -> set[str]:
    """Return the names that a top-level statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    return {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}


def is_fixture(node: ast.AST) -> bool:
    """Say whether a function is a fixture."""
    return any("fixture" in ast.dump(each) for each in getattr(node, "decorator_list", []))
