"""docs/troubleshooting.md and the README quote messages exactly as they are printed."""

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from firstlight.cli.errors import format_user_error
from support.checkout import ROOT
from support.doc_commands import (
    COMMANDS,
    iter_blocks,
    pretend_cluster,
    skip_if_deleted,
    template_only,
    validate_command,
)

sys.path.insert(0, str(ROOT / "scripts"))
import make

# (command, message) for each entry of the page; the command is empty if the page shows only the message.
ENTRIES = [
    entry.split("\n", 1) if entry.startswith("$ ") else ["", entry]
    for block in [
        *iter_blocks("text", [ROOT / "docs/troubleshooting.md"]),
        *iter_blocks("console", [ROOT / "README.md"]),
    ]
    for entry in block.strip().split("\n\n")
]


def make_pattern(text: str) -> str:
    """Return a regular expression for a quoted message, in which ... matches anything."""
    return ".*".join(map(re.escape, " ".join(text.split()).split("...")))


@pytest.mark.parametrize(("line", "message"), [entry for entry in ENTRIES if entry[0]])
def test_documented_command_prints_message(line, message, tmp_path, monkeypatch, capsys):
    pretend_cluster(monkeypatch)
    monkeypatch.chdir(tmp_path)
    _, command, *arguments = line.removeprefix("$ ").split()
    if unknown := [word for word in (command, *arguments) if "=" not in word and word not in COMMANDS]:
        make.print_unknown_target(unknown[0])
        assert re.fullmatch(make_pattern(message), capsys.readouterr().out.strip())
        return
    skip_if_deleted([command, *arguments, *re.findall(r"\b(?:model|data)=\w+", message)])

    with pytest.raises(Exception) as caught:
        validate_command(command, arguments)

    assert re.fullmatch(make_pattern(message), f"{command}: {format_user_error(caught.value, command, arguments)}")


def iter_source_messages() -> Iterator[tuple[str, int]]:
    """Yield a regular expression for each string in the source, and the number of its literal characters."""
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                literals = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
                pattern = "".join(".*" if part is None else re.escape(part) for part in literals)
                yield pattern, sum(len(part or "") for part in literals)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.escape(node.value), len(node.value)
    for file in (ROOT / "scripts").glob("*.sh"):
        for text in re.findall(r'echo "(.*?)"', file.read_text()):
            yield re.sub(r"\\\$\w+", ".*", re.escape(text)), len(re.sub(r"\$\w+", "", text))


@template_only  # Some messages belong to the examples.
def test_documented_messages_exist_in_source():
    patterns = [(pattern, num_literal) for pattern, num_literal in iter_source_messages() if num_literal > 12]
    messages = [" ".join(message.split()) for line, message in ENTRIES if not line]
    unknown = [
        text
        for text in messages
        if not any(num_literal > 0.4 * len(text) and re.fullmatch(pattern, text) for pattern, num_literal in patterns)
    ]

    assert len(messages) > 15
    assert unknown == []
