"""Leave out tests of what is gone, and what only they used. Standard library only."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from mine.cuts import shorter
from mine.edits import Source
from mine.judge import Judge
from mine.mentions import Mentions, defined
from mine.tree import Texts
from mine.usage import Used, leave_unused, used

if TYPE_CHECKING:
    from mine.prune import Gone


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
    written = {path: text for path, text in files.items() if path.startswith("tests/") and path.endswith(".py")}
    if not gone.names() and not any(folder in text for folder in gone.paths for text in written.values()):
        return files, set()
    found = [File(path, text) for path, text in written.items()]
    before = {name for file in found for name in file.tests()}
    judge = Judge(Mentions(gone, package), found)
    first = {file.path: used(judge, file) for file in found}
    while passed(judge, first):
        pass
    after = {**files, **{file.path: shorter(judge, file) for file in found}}
    left = {path: text for path, text in after.items() if not any(file.gone and file.path == path for file in found)}
    return left, before - {name for file in found if not file.gone for name in file.tests()}


def passed(judge: Judge, first: Used) -> bool:
    """Let go what mentions what has gone, then what nothing uses any more; say whether anything went."""
    before = [(len(file.live), len(file.dead), file.gone) for file in judge.files]
    for file in judge.files:
        if not file.gone:
            judged(judge, file)
    leave_unused(judge, first)
    return before != [(len(file.live), len(file.dead), file.gone) for file in judge.files]


def judged(judge: Judge, file: File) -> None:
    """Let go the statements of a file that cannot stay."""
    dead = judge.dead_names(file)
    for statement in list(file.live):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = judge.dead_imports(statement)
            file.dead |= names
            if {alias.asname or alias.name.partition(".")[0] for alias in statement.names} <= names:
                file.live.remove(statement)
        elif judge.verdict(statement, dead)[0]:
            file.live.remove(statement)
            if not isinstance(statement, ast.AugAssign):
                file.dead |= defined(statement)
            # A script without its main part is none.
            file.gone = file.gone or (isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test))
        else:
            file.dead |= judge.dead_keys(statement, dead)


def shortened(text: str, names: set[str]) -> str:
    """Return a source whose lists and tuples of words no longer hold some of them; none becomes empty."""
    if not any(f'"{name}"' in text for name in names):
        return text
    source, edits = Source(text), []
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and node.elts:
            words = [each.value for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            dead = [each for each in node.elts if isinstance(each, ast.Constant) and each.value in names]
            bare = source.code(node)[:1] not in ("(", "[", "{")
            if dead and len(words) == len(node.elts) > len(dead) and not bare:
                live = [source.code(each) for each in node.elts if each not in dead]
                start, end = source.span(node)
                opening, closing = text[start], text[end - 1]
                comma = "," if isinstance(node, ast.Tuple) and len(live) == 1 else ""
                edits.append((start, end, f"{opening}{', '.join(live)}{comma}{closing}"))
    return source.edited(edits) if edits else text
