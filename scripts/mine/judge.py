"""Which tests, helpers and fixtures cannot stay, and which parts of them go alone. Standard library only."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mine.mentions import Mentions, bound, defined, docstring, is_fixture

if TYPE_CHECKING:
    from mine.suite import File


class Judge:
    """Judges nodes of test files by what they mention, and by the names that others have lost."""

    def __init__(self, mentions: Mentions, files: list[File]) -> None:
        """Keep what is judged."""
        self.mentions, self.files = mentions, files
        self.modules = {file.module: file for file in files}
        # Of each statement: its words, and whether it mentions what goes by itself.
        self.words: dict[ast.AST, tuple[set[str], bool]] = {}

    def verdict(self, statement: ast.stmt, dead: set[str]) -> tuple[bool, list[ast.AST]]:
        """Say whether a statement of a module cannot stay, and which parts of it go alone."""
        if statement not in self.words:
            words = mentioned(statement)
            speaks = any(self.mentions.text(each) for each in words)
            speaks = speaks or any(
                self.dead_imports(each)
                for each in ast.walk(statement)
                if isinstance(each, (ast.Import, ast.ImportFrom))
            )
            self.words[statement] = {part for each in words for part in re.findall(r"\w+", each)}, speaks
        words, speaks = self.words[statement]
        lost = {each.rpartition(" ")[2].partition("[")[0] for each in dead}
        lost |= {file.module for file in self.files if file.gone or file.dead}
        cuts: list[ast.AST] = []
        # Most statements speak of nothing that goes: to walk through them each time would take a minute.
        return (speaks or bool(words & lost)) and self.hit(statement, dead, cuts), cuts

    def dead_names(self, file: File) -> set[str]:
        """Return the names that a file can no longer use, the fixtures of conftest.py included."""
        above = [each for each in self.files if each.module == "conftest" and file.path.startswith(each.path[:-11])]
        fixtures = {
            name
            for each in above
            for name in each.dead
            if any(name in defined(s) and is_fixture(s) for s in each.source.tree.body)
        }
        return file.dead | {f"fixture {name}" for name in fixtures} | {f"fixture {name}" for name in file.dead}

    def dead_imports(self, statement: ast.Import | ast.ImportFrom) -> set[str]:
        """Return the names that an import no longer brings; keys of a dict travel along."""
        found = set()
        for alias in statement.names:
            name = alias.asname or alias.name.partition(".")[0]
            if isinstance(statement, ast.Import):
                other = self.modules.get(alias.name)
                if self.mentions.module(alias.name) or (other and other.gone):
                    found.add(name)
                continue
            module = statement.module or ""
            other = self.modules.get(module.rpartition(".")[2])
            goes = self.mentions.module(module) or self.mentions.module(f"{module}.{alias.name}")
            if goes or (other and (other.gone or alias.name in other.dead)):
                found.add(name)
            elif other:
                found |= {key for key in other.dead if key.startswith(f"{name}[")}
        return found

    def dead_keys(self, statement: ast.stmt, dead: set[str]) -> set[str]:
        """Return the keys that a dict of the module loses, as NAME["key"]."""
        value = getattr(statement, "value", None)
        if not isinstance(statement, ast.Assign) or not isinstance(value, ast.Dict):
            return set()
        items = self.items(value, dead)
        keys = [each.value for each, gone in zip(value.keys, items) if gone and isinstance(each, ast.Constant)]
        return {f"{name}[{key!s}]" for name in defined(statement) for key in keys}

    def hit(self, node: ast.AST, dead: set[str], cuts: list[ast.AST], top: bool = True) -> bool:
        """Say whether a node cannot stay; `cuts` takes the parts of it that go alone."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = bound(node)
            arguments = {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
            if any(f"fixture {each}" in dead for each in arguments):
                return True
            dead = {each for each in dead if each not in own | arguments}
            if any(self._decorated(each, dead, cuts) for each in node.decorator_list):
                return True
            return any(self.hit(each, dead, cuts, False) for each in node.body if each is not docstring(node))
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and top and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return any(self.hit(each, dead, cuts, False) for each in targets) or self._alternatives(
                node.value, dead, cuts
            )
        if isinstance(node, ast.IfExp):
            return self._choice(node, dead, cuts)
        if isinstance(node, ast.If) and not top and self.mentions.folded(node.test) is not None:
            rest = node.body if self.mentions.folded(node.test) else node.orelse
            cuts.append(node)
            return any(self.hit(each, dead, cuts, False) for each in rest)
        return self._says(node, dead) or any(
            self.hit(each, dead, cuts, False) for each in ast.iter_child_nodes(node) if each is not docstring(node)
        )

    def _says(self, node: ast.AST, dead: set[str]) -> bool:
        if isinstance(node, ast.Constant):
            value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            return isinstance(value, str) and self._string(value, dead)
        if isinstance(node, ast.Name):
            return node.id in dead
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return bool(self.dead_imports(node))
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
        ):
            return f"{node.value.id}[{node.slice.value!s}]" in dead
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.modules:
            other = self.modules[node.value.id]
            return other.gone or node.attr in other.dead
        return False

    def _string(self, value: str, dead: set[str]) -> bool:
        """Say whether a string mentions what goes, or names a fixture or a test file that has gone."""
        return (
            self.mentions.text(value)
            or f"fixture {value}" in dead
            or any(each.gone and re.search(rf"(?<!\w){each.module}\.py\b", value) for each in self.files)
        )

    def _choice(self, node: ast.IfExp, dead: set[str], cuts: list[ast.AST]) -> bool:
        """Judge `a if b else c`: one side may go alone."""
        folded = self.mentions.folded(node.test)
        if folded is not None:
            cuts.append(node)
            return self.hit(node.body if folded else node.orelse, dead, cuts, False)
        sides = [self.hit(each, dead, [], False) for each in (node.body, node.orelse)]
        if any(sides) and not all(sides):
            cuts.append(node)
            return False
        return all(sides) or self.hit(node.test, dead, cuts, False)

    def branch(self, node: ast.IfExp, dead: set[str]) -> ast.expr:
        """Return the side of a choice that stays."""
        folded = self.mentions.folded(node.test)
        if folded is None:
            folded = not self.hit(node.body, dead, [], False)
        return node.body if folded else node.orelse

    def _decorated(self, node: ast.expr, dead: set[str], cuts: list[ast.AST]) -> bool:
        """Judge a decorator: of the cases of `parametrize` and the `params` of a fixture some may go alone."""
        if not isinstance(node, ast.Call):
            return self.hit(node, dead, cuts, False)
        is_cases = isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize"
        cases = node.args[1:2] if is_cases else []
        cases += [each.value for each in node.keywords if each.arg in ("params", "argvalues")]
        rest = [*node.args, *(each.value for each in node.keywords if each.arg not in ("params", "argvalues", "ids"))]
        return any(self._alternatives(each, dead, cuts, True) for each in cases) or any(
            self.hit(each, dead, cuts, False) for each in rest if each not in cases
        )

    def items(self, node: ast.AST, dead: set[str]) -> list[bool]:
        """Return which items of a list, tuple, set or dict cannot stay."""
        return [any(self.hit(each, dead, [], False) for each in row) for row in rows(node)]

    def _alternatives(self, node: ast.expr, dead: set[str], cuts: list[ast.AST], cases: bool = False) -> bool:
        """Judge a collection whose items stand each for itself, as cases do; words of a command do not."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self._alternatives(each, dead, cuts, cases) for each in (node.left, node.right)]
            return any(sides)
        if not isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict)):
            return self.hit(node, dead, cuts, False)
        gone = self.items(node, dead)
        if not any(gone):
            for each in ast.iter_child_nodes(node):
                self.hit(each, dead, cuts, False)
            return False
        # A table may be empty; what goes over a list would do nothing.
        if (all(gone) and not isinstance(node, ast.Dict)) or (
            not cases and any(self._word(each) for each, lost in zip(getattr(node, "elts", []), gone) if lost)
        ):
            return True
        cuts.append(node)
        return False

    @staticmethod
    def _word(node: ast.expr) -> bool:
        """Say whether an item is a word of a command, such as "model=bert"."""
        parts = [
            each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        return isinstance(node, (ast.Starred, ast.Constant, ast.JoinedStr)) and (
            isinstance(node, ast.Starred) or any("=" in each for each in parts)
        )


def mentioned(statement: ast.AST) -> set[str]:
    """Return the names and the strings of a statement."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            found.add(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
        elif isinstance(node, (ast.ImportFrom, ast.Import)):
            found |= {part for alias in node.names for part in alias.name.split(".")}
            found |= set((getattr(node, "module", None) or "").split("."))
        else:
            found |= {str(each) for each in (getattr(node, "id", ""), getattr(node, "arg", "")) if each}
    return found


def rows(node: ast.AST) -> list[list[ast.expr]]:
    """Return the items of a list, tuple, set or dict, each as its nodes."""
    if isinstance(node, ast.Dict):
        return [[each for each in pair if each] for pair in zip(node.keys, node.values)]
    return [[each] for each in getattr(node, "elts", [])]
