"""The edits that take out of a test file what goes. Standard library only."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mine.edits import Edits, Source
from mine.judge import Judge, rows
from mine.usage import all_names, used

if TYPE_CHECKING:
    from mine.suite import File


def shorter(judge: Judge, file: File) -> str:
    """Return the text of a file after all that went."""
    dead = judge.dead_names(file)
    edits: Edits = []
    source = file.source
    now = used(judge, file)
    for statement in source.tree.body:
        if statement not in file.live:
            edits.append(source.without_statement(statement))
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            edits += _import_edits(file, statement, now)
        else:
            _, cuts = judge.verdict(statement, dead)
            for cut in cuts:
                edits += _edits(judge, source, cut, dead)
            edits += _ids(judge, source, statement, cuts, dead)
    return source.edited(edits) if edits else source.text


def _import_edits(file: File, statement: ast.Import | ast.ImportFrom, now: set[str]) -> Edits:
    first = {name for each in file.source.tree.body for name in all_names(each)}
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


def _edits(judge: Judge, source: Source, node: ast.AST, dead: set[str]) -> Edits:
    """Return the edits of a node of which a part goes."""
    if isinstance(node, ast.IfExp):
        return [(*source.span(node), source.code(judge.branch(node, dead)))]
    if isinstance(node, ast.If):
        return _unfolded(source, node, node.body if judge.mentions.folded(node.test) else node.orelse)
    gone = judge.items(node, dead)
    items = rows(node)
    if all(gone):
        return [(*source.span(node), "{}")]
    spans = [(source.span(row[0])[0], source.span(row[-1])[1]) for row, lost in zip(items, gone) if lost]
    edits = source.without_items(node, spans)
    if isinstance(node, ast.Tuple) and gone.count(False) == 1:
        end = source.span(node)[1] - 1
        if source.text[end] == ")" and "," not in source.text[source.span(node.elts[-1])[1] : end]:
            edits.append((end, end, ","))
    return edits


def _unfolded(source: Source, node: ast.If, stays: list[ast.stmt]) -> Edits:
    """Return the edits that leave of an `if` the statements of one branch."""
    if not stays:
        return [source.without_statement(node)]
    start, end = source.span(node)
    less = stays[0].col_offset - node.col_offset
    body = source.text[source.starts[stays[0].lineno - 1] : source.span(stays[-1])[1]]
    lines = [line[less:] if line.strip() else line for line in body.splitlines(keepends=True)]
    return [(start, end, "".join(lines).strip())]


def _ids(judge: Judge, source: Source, statement: ast.stmt, cuts: list[ast.AST], dead: set[str]) -> Edits:
    """Return the edits of the ids= that belong to cases which go."""
    edits: Edits = []
    for node in getattr(statement, "decorator_list", []):
        ids = [each.value for each in getattr(node, "keywords", []) if each.arg == "ids"]
        cases = [each for each in getattr(node, "args", [])[1:2] if each in cuts]
        if ids and cases and isinstance(ids[0], ast.List):
            gone = judge.items(cases[0], dead)
            spans = [source.span(each) for each, lost in zip(ids[0].elts, gone) if lost]
            edits += source.without_items(ids[0], spans)
    return edits
