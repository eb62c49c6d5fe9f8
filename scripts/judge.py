"""Which tests, helpers, fixtures and imports go when others have gone. Standard library only."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Iterable

from edits import Edits
from mentions import Mentions, bound, defined, docstring, is_fixture

if TYPE_CHECKING:
    from prune_tests import File


class Judge:
    """Goes over all test files until nothing more goes."""

    def __init__(self, mentions: Mentions, files: list[File]) -> None:
        """Keep what is judged."""
        self.mentions, self.files = mentions, files
        self.modules = {file.module: file for file in files}
        self.texts = {file.path: file.source.text for file in files}

    def round(self, first: dict[str, set[str]]) -> bool:
        """Let go what mentions what has gone, then what nothing uses any more; say whether anything went."""
        before = [(len(file.live), len(file.dead), file.gone) for file in self.files]
        for file in self.files:
            if not file.gone:
                self._judge(file)
        self._unused(first)
        return before != [(len(file.live), len(file.dead), file.gone) for file in self.files]

    def _judge(self, file: File) -> None:
        dead = self.dead_names(file)
        for statement in list(file.live):
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                names = self.dead_imports(statement)
                file.dead |= names
                if {alias.asname or alias.name.partition(".")[0] for alias in statement.names} <= names:
                    file.live.remove(statement)
            elif self.hit(statement, dead, []):
                file.live.remove(statement)
                if not isinstance(statement, ast.AugAssign):
                    file.dead |= defined(statement)
                # A script without its main part is none.
                file.gone = file.gone or (isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test))
            else:
                file.dead |= self.dead_keys(statement, dead)

    def dead_names(self, file: File) -> set[str]:
        """Return the names that a file can no longer use, the fixtures of conftest.py included."""
        above = [each for each in self.files if each.module == "conftest" and file.path.startswith(each.path[:-11])]
        fixtures = {name for each in above for name in each.dead if any(name in defined(s) and is_fixture(s) for s in each.source.tree.body)}
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
            if self.mentions.module(module) or self.mentions.module(f"{module}.{alias.name}"):
                found.add(name)
            elif other and (other.gone or alias.name in other.dead):
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
        keys = [each.value for each, gone in zip(value.keys, items) if gone and isinstance(each, ast.Constant)]  # noqa: B905
        return {f"{name}[{key}]" for name in defined(statement) for key in keys}

    # What a node says

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
            return any(self.hit(each, dead, cuts, False) for each in targets) or self._alternatives(node.value, dead, cuts)
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
            return isinstance(value, str) and (self.mentions.text(value) or f"fixture {value}" in dead or self._file(value))
        if isinstance(node, ast.Name):
            return node.id in dead
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return bool(self.dead_imports(node))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
            return f"{node.value.id}[{node.slice.value}]" in dead
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.modules:
            other = self.modules[node.value.id]
            return other.gone or node.attr in other.dead
        return False

    def _file(self, value: str) -> bool:
        """Say whether a string names a test file that has gone."""
        return any(each.gone and re.search(rf"(?<!\w){each.module}\.py\b", value) for each in self.files)

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

    def items(self, node: ast.expr, dead: set[str]) -> list[bool]:
        """Return which items of a list, tuple, set or dict cannot stay."""
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values)  # noqa: B905
            return [any(self.hit(each, dead, [], False) for each in pair if each) for pair in pairs]
        return [self.hit(each, dead, [], False) for each in getattr(node, "elts", [])]

    def _alternatives(self, node: ast.expr, dead: set[str], cuts: list[ast.AST], cases: bool = False) -> bool:
        """Judge a collection whose items stand each for itself, as cases do; words of a command do not."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return any([self._alternatives(each, dead, cuts, cases) for each in (node.left, node.right)])
        if not isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict)):
            return self.hit(node, dead, cuts, False)
        gone = self.items(node, dead)
        if not any(gone):
            for each in ast.iter_child_nodes(node):
                self.hit(each, dead, cuts, False)
            return False
        if all(gone) or (not cases and any(self._word(each) for each, lost in zip(getattr(node, "elts", []), gone) if lost)):  # noqa: B905
            return True
        cuts.append(node)
        return False

    @staticmethod
    def _word(node: ast.expr) -> bool:
        """Say whether an item is a word of a command, such as "model=bert"."""
        parts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return isinstance(node, (ast.Starred, ast.Constant, ast.JoinedStr)) and (
            isinstance(node, ast.Starred) or any("=" in each for each in parts)
        )

    # What nothing uses any more

    def used(self, file: File) -> set[str]:
        """Return the names that what lives in a file uses, and `module.name` of other files."""
        dead = self.dead_names(file)
        found: set[str] = set()
        for statement in file.live:
            cuts: list[ast.AST] = []
            self.hit(statement, dead, cuts)
            skipped = {id(each) for cut in cuts for each in self._cut_away(cut, dead)}
            own = defined(statement) if not isinstance(statement, (ast.AugAssign, ast.Assign)) else set()
            names = set(self._names(statement, skipped))
            found |= names - own if not isinstance(statement, ast.Assign) else names
        return found

    def _cut_away(self, node: ast.AST, dead: set[str]) -> Iterable[ast.AST]:
        if isinstance(node, ast.IfExp):
            stays = self.branch(node, dead)
            return [each for each in (node.test, node.body, node.orelse) if each is not stays]
        if isinstance(node, ast.If):
            return [node.test, *(node.orelse if self.mentions.folded(node.test) else node.body)]
        gone = self.items(node, dead)  # type: ignore[arg-type]
        rows = list(zip(node.keys, node.values)) if isinstance(node, ast.Dict) else [(each,) for each in node.elts]  # type: ignore[attr-defined]  # noqa: B905
        return [each for row, lost in zip(rows, gone) if lost for each in row if each]  # noqa: B905

    def _names(self, node: ast.AST, skipped: set[int]) -> Iterable[str]:
        if id(node) in skipped:
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\w+\.py\b|^\w+$", node.value)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        for each in ast.iter_child_nodes(node):
            yield from self._names(each, skipped)

    def _unused(self, first: dict[str, set[str]]) -> None:
        now = {file.path: set() if file.gone else self.used(file) for file in self.files}
        for file in self.files:
            if file.gone:
                continue
            for statement in list(file.live):
                names = self._imported(statement) or defined(statement)
                if names and all(self._lost(file, name, first, now) for name in names):
                    file.live.remove(statement)
            elsewhere = [name for path, found in now.items() if path != file.path for name in found]
            before = [name for path, found in first.items() if path != file.path for name in found]
            known = {file.module, f"{file.module}.py"}
            wanted, had = known & set(elsewhere), known & set(before)
            if not file.tests() and not wanted and (file.had_tests or had) and file.module != "conftest":
                file.gone = True

    @staticmethod
    def _imported(statement: ast.stmt) -> set[str]:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            return set()
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}

    def _lost(self, file: File, name: str, first: dict[str, set[str]], now: dict[str, set[str]]) -> bool:
        """Say whether a name was used once, and is no longer."""
        if name.startswith(("test_", "pytest_")) or f"[{name}]" in file.dead:
            return False
        is_conftest = file.module == "conftest"

        def used(found: dict[str, set[str]]) -> bool:
            near = name in found[file.path] or any(f"{file.module}.{name}" in each for each in found.values())
            return near or (is_conftest and any(name in each for each in found.values()))

        return used(first) and not used(now)

    # The result

    def text(self, file: File) -> str:
        """Return the text of a file after all that went."""
        dead, edits = self.dead_names(file), []
        source = file.source
        now = self.used(file)
        for statement in source.tree.body:
            if statement not in file.live:
                edits.append(source.without_statement(statement))
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                edits += self._import_edits(file, statement, now)
            else:
                cuts: list[ast.AST] = []
                self.hit(statement, dead, cuts)
                for cut in cuts:
                    edits += self._edits(file, cut, dead)
                edits += self._ids(file, statement, cuts, dead)
        return source.edited(edits) if edits else source.text

    def _import_edits(self, file: File, statement: ast.Import | ast.ImportFrom, now: set[str]) -> Edits:
        first = {each.id for each in ast.walk(file.source.tree) if isinstance(each, ast.Name)}
        lost = [
            alias
            for alias in statement.names
            for name in [alias.asname or alias.name.partition(".")[0]]
            if name in file.dead or (name in first and name not in now)
        ]
        if not lost:
            return []
        live = [each for each in statement.names if each not in lost]
        if not live:
            return [file.source.without_statement(statement)]
        start, end = file.source.span(statement)
        begin = re.match(r"(from\s+\S+\s+)?import ", file.source.text[start:end])
        names = [f"{each.name} as {each.asname}" if each.asname else each.name for each in live]
        line = f"{begin.group() if begin else 'import '}{', '.join(names)}"
        if len(line) > 120 or "(\n" in file.source.text[start:end]:
            line = f"{begin.group() if begin else ''}(\n" + "".join(f"    {each},\n" for each in names) + ")"
        return [(start, end, line)]

    def _edits(self, file: File, node: ast.AST, dead: set[str]) -> Edits:
        source = file.source
        if isinstance(node, ast.IfExp):
            return [(*source.span(node), source.code(self.branch(node, dead)))]
        if isinstance(node, ast.If):
            rest = node.body if self.mentions.folded(node.test) else node.orelse
            if not rest:
                return [source.without_statement(node)]
            start, end = source.span(node)
            indent, inner = node.col_offset, rest[0].col_offset
            body = source.text[source.starts[rest[0].lineno - 1] : source.span(rest[-1])[1]]
            lines = [line[inner - indent :] if line.strip() else line for line in body.splitlines(keepends=True)]
            return [(start, end, "".join(lines).strip())]
        gone = self.items(node, dead)  # type: ignore[arg-type]
        rows = [(key or value, value) for key, value in zip(node.keys, node.values)] if isinstance(node, ast.Dict) else [(each, each) for each in node.elts]  # type: ignore[attr-defined]  # noqa: B905
        spans = [(source.span(row[0])[0], source.span(row[1])[1]) for row, lost in zip(rows, gone) if lost]  # noqa: B905
        edits = source.without_items(node, spans)
        if isinstance(node, ast.Tuple) and gone.count(False) == 1:
            last = source.span(node.elts[gone.index(False)])[1]
            if not re.match(r"\s*,", source.text[last:]):
                edits.append((last, last, ","))
        return edits

    def _ids(self, file: File, statement: ast.stmt, cuts: list[ast.AST], dead: set[str]) -> Edits:
        """Return the edits of the ids= that belong to cases which go."""
        edits: Edits = []
        for node in getattr(statement, "decorator_list", []):
            ids = [each.value for each in getattr(node, "keywords", []) if each.arg == "ids"]
            cases = [each for each in getattr(node, "args", [])[1:2] if each in cuts]
            if ids and cases and isinstance(ids[0], ast.List):
                gone = self.items(cases[0], dead)
                spans = [file.source.span(each) for each, lost in zip(ids[0].elts, gone) if lost]  # noqa: B905
                edits += file.source.without_items(ids[0], spans)
        return edits
