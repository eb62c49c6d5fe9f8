"""What is read is short; that it is documented and annotated, ruff sees to."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("src", "scripts", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function and its lines, from the first decorator to the end."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(each.lineno for each in (node, *node.decorator_list))
            yield node.name, node.end_lineno - first + 1


def test_no_function_is_longer_than_40_lines():
    found = {f"{path}: {name}": lines for path, text in FILES.items() for name, lines in functions(text)}

    assert len(found) > 500
    assert {name: lines for name, lines in found.items() if lines > 40} == {}


def test_no_file_is_longer_than_250_lines():
    found = {path: len(text.splitlines()) for path, text in FILES.items()}

    assert {path: lines for path, lines in found.items() if lines > 250} == {}
