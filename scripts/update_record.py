"""Read and write the table [tool.firstlight.template] in pyproject.toml, which records the template of a project.

Python 3.9 has no TOML parser. `make init` and `make update` write the table with one value per line.
"""

from __future__ import annotations

import re

TABLE = re.compile(r"^\[tool\.firstlight\.template\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|\Z))*", re.MULTILINE)


def extract_template_table(pyproject: str) -> tuple[str, str, str]:
    """Return pyproject.toml without the template's table, the table, and the first line after it."""
    match = TABLE.search(pyproject)
    if not match:
        return pyproject, "", ""
    lines = match[0].splitlines(keepends=True)
    # Comments and empty lines before the next table belong to that table.
    while not lines[-1].strip() or lines[-1].startswith("#"):
        lines.pop()
    rest = pyproject[match.start() + len("".join(lines)) :]
    before = pyproject[: match.start()]
    following = next((line for line in rest.splitlines() if line.strip()), "")
    return (before + rest.lstrip("\n") if following else before.rstrip("\n") + "\n"), "".join(lines), following


def insert_table(pyproject: str, table: str, following: str) -> str:
    """Insert the template's table before the line that followed it, or at the end."""
    start = f"\n{pyproject}".find(f"\n{following}\n") if following else -1
    if start < 0:
        return pyproject.rstrip("\n") + "\n\n" + table
    return pyproject[:start] + table + "\n" + pyproject[start:]


def read_value(table: str, name: str) -> str:
    """Return a string of the table, or "" if it is missing."""
    match = re.search(rf'^{name} *= *"([^"\n]*)"', table, flags=re.MULTILINE)
    return match[1] if match else ""


def read_removed_commands(table: str) -> list[str]:
    """Return the commands that the table lists as removed."""
    match = re.search(r"^removed *= *\[([^\]]*)\]", table, flags=re.MULTILINE)
    return re.findall(r'"([^"\n]*)"', match[1]) if match else []


def set_value(table: str, name: str, value: str) -> str:
    """Set a value of the table, given as TOML, and return the new table."""
    line = f"{name} = {value}"
    pattern = re.compile(rf'^{name} *= *(?:"[^"\n]*"|\[[^\]]*\])', re.MULTILINE)
    if pattern.search(table):
        return pattern.sub(lambda match: line, table, count=1)
    return table.rstrip("\n") + f"\n{line}\n"
