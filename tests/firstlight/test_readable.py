"""Functions have at most 40 lines, and files at most 250; ruff checks docstrings and annotations."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for directory in ("src", "scripts", "tests")
    for path in sorted((ROOT / directory).rglob("*.py"))
}


def iter_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function and its number of lines, including decorators."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first_line = min(part.lineno for part in (node, *node.decorator_list))
            yield node.name, node.end_lineno - first_line + 1


def test_functions_have_at_most_40_lines():
    lengths = {f"{path}: {name}": lines for path, text in FILES.items() for name, lines in iter_functions(text)}

    assert len(lengths) > 500
    assert {name: lines for name, lines in lengths.items() if lines > 40} == {}


def test_files_have_at_most_250_lines():
    lengths = {path: len(text.splitlines()) for path, text in FILES.items()}

    assert {path: lines for path, lines in lengths.items() if lines > 250} == {}
