"""Type annotations as rules for YAML values: what matches, and how a message describes it."""

import ast
from typing import Any

# How messages describe the types of YAML values.
TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "None": "null",
    **dict.fromkeys(("list", "List", "tuple", "Tuple", "Sequence"), "a list such as [a,b]"),
    **dict.fromkeys(("dict", "Dict"), "a mapping"),
}


def matches_annotation(annotation: ast.expr, value: Any) -> bool:
    """Return True if a YAML value matches a type annotation; an unsupported annotation accepts any value."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return matches_annotation(left, value) or matches_annotation(right, value)
        case ast.Constant(value=None) | ast.Name(id="None"):
            return value is None
        case ast.Constant(value=str(text)):
            return matches_annotation(ast.parse(text, mode="eval").body, value)
        case ast.Subscript(value=outer, slice=inner):
            return _matches_generic(ast.unparse(outer).rpartition(".")[2], inner, value)
        case ast.Name(id="Any" | "object"):
            return True
        case ast.Name(id=name):
            return _matches_builtin(name, value)
    return True


def _matches_generic(outer: str, inner: ast.expr, value: Any) -> bool:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer in ("Optional", "Union"):
        return (outer == "Optional" and value is None) or any(matches_annotation(part, value) for part in parts)
    if outer == "Literal":
        return any(isinstance(part, ast.Constant) and part.value == value for part in parts)
    if outer in ("list", "List", "Sequence"):
        return isinstance(value, list) and all(matches_annotation(parts[0], item) for item in value)
    return not isinstance(value, str | int | float | bool) if outer in ("dict", "Dict", "tuple", "Tuple") else True


def _matches_builtin(name: str, value: Any) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    if name == "Tensor":
        return False
    if name not in kinds:
        return name not in ("list", "dict", "tuple") or isinstance(value, list | dict)
    # bool is a subclass of int, but `batch_size: true` is an error.
    return isinstance(value, kinds[name]) and isinstance(value, bool) == (name == "bool")


def describe_annotation(annotation: ast.expr) -> str:
    """Return what a type annotation accepts, in words: "a number or null"."""
    # A tensor cannot be written in YAML.
    *others, last = [name for name in dict.fromkeys(_describe_types(annotation)) if name != "Tensor"] or ["a value"]
    return f"{', '.join(others)} or {last}" if others else last


def _describe_types(annotation: ast.expr) -> list[str]:
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*_describe_types(left), *_describe_types(right)]
        case ast.Constant(value=None):
            return [TYPE_NAMES["None"]]
        case ast.Constant(value=str(text)):
            return _describe_types(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=outer, slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            match ast.unparse(outer).rpartition(".")[2]:
                case "Literal":
                    return [str(part.value) for part in parts if isinstance(part, ast.Constant)]
                case "Union" | "Optional" as wrapper:
                    described = [text for part in parts for text in _describe_types(part)]
                    return [*described, TYPE_NAMES["None"]] if wrapper == "Optional" else described
            return _describe_types(outer)
    name = ast.unparse(annotation).rpartition(".")[2]
    return [TYPE_NAMES.get(name, name)]
