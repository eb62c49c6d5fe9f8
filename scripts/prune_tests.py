"""Leave out tests of what is gone, and what only they used. Standard library only."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from edits import Source
from judge import Judge
from mentions import Mentions, defined, is_fixture
from tree import Texts

if TYPE_CHECKING:
    from prune import Gone


class File:
    """A test file, and which of its top-level statements live."""

    def __init__(self, path: str, text: str) -> None:
        """Parse it."""
        self.path = path
        self.source = Source(text)
        self.live = list(self.source.tree.body)
        self.dead: set[str] = set()  # names, and NAME["key"] of dicts
        self.gone = False
        self.had_tests = bool(self.tests())

    def tests(self) -> set[str]:
        """Return the names of the tests that live."""
        return {each.name for each in self.live if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")}

    @property
    def module(self) -> str:
        """Return the name by which other tests import it."""
        return self.path.split("/")[-1][: -len(".py")]


def pruned(files: Texts, package: str, gone: Gone) -> tuple[Texts, set[str]]:
    """Return the files with shorter tests, and the names of tests that are gone."""
    if not gone.paths and not gone.names():
        return files, set()
    found = [File(path, text) for path, text in files.items() if path.startswith("tests/") and path.endswith(".py")]
    before = {name for file in found for name in file.tests()}
    judge = Judge(Mentions(gone, package), found)
    first = {file.path: judge.used(file) for file in found}
    while judge.round(first):
        pass
    after = {**files, **{file.path: judge.text(file) for file in found}}
    left = {path: text for path, text in after.items() if not any(file.gone and file.path == path for file in found)}
    return left, before - {name for file in found if not file.gone for name in file.tests()}


def shortened(text: str, names: set[str]) -> str:
    """Return a source whose lists and tuples of words no longer hold some of them; none becomes empty."""
    if not any(f'"{name}"' in text for name in names):
        return text
    source, edits = Source(text), []
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and node.elts:
            words = [each.value for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            dead = [each for each in node.elts if isinstance(each, ast.Constant) and each.value in names]
            if dead and len(words) == len(node.elts) > len(dead):
                live = [source.code(each) for each in node.elts if each not in dead]
                start, end = source.span(node)
                opening, closing = text[start], text[end - 1]
                comma = "," if isinstance(node, ast.Tuple) and len(live) == 1 else ""
                edits.append((start, end, f"{opening}{', '.join(live)}{comma}{closing}"))
    return source.edited(edits) if edits else text


__all__ = ["File", "defined", "is_fixture", "pruned", "re", "shortened"]
