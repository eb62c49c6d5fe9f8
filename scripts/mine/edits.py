"""Edits of a Python source by the places of its syntax tree: comments and layout survive. Standard library only."""

from __future__ import annotations

import ast
import re

Edits = list[tuple[int, int, str]]  # from, to, instead


class Source:
    """A text and the places of its nodes."""

    def __init__(self, text: str) -> None:
        """Parse it; `ast` counts columns in bytes, this class in characters."""
        self.text = text
        self.tree = ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def place(self, line: int, column: int) -> int:
        """Return the offset of a place."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node begins and ends, decorators included."""
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda each: each.lineno)
        column = node.col_offset if first is node else first.col_offset - 1  # type: ignore[attr-defined]
        return self.place(first.lineno, column), self.place(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def code(self, node: ast.AST) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def without_statement(self, node: ast.stmt) -> tuple[int, int, str]:
        """Return the edit that removes a statement and the comments right above it."""
        start, _ = self.span(node)
        first = self.text.count("\n", 0, start)
        indent = len(self.lines[first]) - len(self.lines[first].lstrip())
        while first and re.match(rf" {{{indent}}}#", self.lines[first - 1]):
            first -= 1
        return self.starts[first], self.starts[min(node.end_lineno or 0, len(self.lines))], ""

    def without_items(self, container: ast.AST, items: list[tuple[int, int]]) -> Edits:
        """Return the edits that remove items, given by their places, from a list, tuple, dict, set or import."""
        merged: list[tuple[int, int]] = []
        for start, end in items:
            if merged and re.fullmatch(r"(\s|,|#.*\n)*", self.text[merged[-1][1] : start]):
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return [self._without_item(container, *item) for item in merged]

    def _without_item(self, container: ast.AST, start: int, end: int) -> tuple[int, int, str]:
        stop = self.span(container)[1]
        comma = re.compile(r"\s*,").match(self.text, end, stop)
        after = comma.end() if comma else end
        line = self.text.rfind("\n", 0, start) + 1
        newline = self.text.find("\n", after)
        alone = not self.text[line:start].strip() and re.fullmatch(r"\s*(#.*)?", self.text[after:newline])
        if alone and newline != -1:
            while re.match(r"\s*#", self.text[self.text.rfind("\n", 0, line - 1) + 1 : line]):
                line = self.text.rfind("\n", 0, line - 1) + 1
            return line, newline + 1, ""
        if comma and self.text[after : after + 1] == " ":
            return start, after + 1, ""
        if comma:
            return start, after, ""
        before = re.search(r",?\s*$", self.text[:start])
        return (before.start() if before else start), end, ""

    def edited(self, edits: Edits) -> str:
        """Return the text after the edits; one within another is covered by it."""
        text, last = [], 0
        for start, end, instead in sorted(set(edits), key=lambda each: (each[0], -each[1])):
            if start < last:
                continue
            text += [self.text[last:start], instead]
            last = end
        return tidied("".join([*text, self.text[last:]]))


def tidied(text: str) -> str:
    """Return a source without the blank lines and commas that removals leave."""
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    text = re.sub(r"(\((?:\"[^\"\n]*\"|'[^'\n]*')), ?\)(?= *:| *\n| in )", r"\1,)", text)
    return text.rstrip("\n") + "\n" if text.strip() else ""
