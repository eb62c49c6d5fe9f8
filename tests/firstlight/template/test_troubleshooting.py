"""docs/troubleshooting.md and the README quote real messages."""

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

# A command, if the page shows one, and the message that it prints.
TROUBLES = [
    entry.split("\n", 1) if entry.startswith("$ ") else ["", entry]
    for block in [
        *iter_blocks("text", [ROOT / "docs/troubleshooting.md"]),
        *iter_blocks("console", [ROOT / "README.md"]),
    ]
    for entry in block.strip().split("\n\n")
]


def parts(text: str) -> str:
    """Return a pattern for a sentence of a page, in which ... stands for anything."""
    return ".*".join(map(re.escape, " ".join(text.split()).split("...")))


@pytest.mark.parametrize(("typed", "told"), [each for each in TROUBLES if each[0]])
def test_a_mistake_is_answered_as_the_page_says(typed, told, tmp_path, monkeypatch, capsys):
    pretend_cluster(monkeypatch)
    monkeypatch.chdir(tmp_path)
    _, command, *words = typed.removeprefix("$ ").split()
    if unknown := [word for word in (command, *words) if "=" not in word and word not in COMMANDS]:
        make.refuse(unknown[0])
        assert re.fullmatch(parts(told), capsys.readouterr().out.strip())
        return
    skip_if_deleted([command, *words, *re.findall(r"\b(?:model|data)=\w+", told)])

    with pytest.raises(Exception) as caught:
        validate_command(command, words)

    assert re.fullmatch(parts(told), f"{command}: {format_user_error(caught.value, command, words)}")


def sentences_of_the_source() -> Iterator[tuple[str, int]]:
    """Yield a pattern for each text in the source, and how many of its characters are fixed."""
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                fixed = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
                pattern = "".join(".*" if part is None else re.escape(part) for part in fixed)
                yield pattern, sum(len(part or "") for part in fixed)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.escape(node.value), len(node.value)
    for text in re.findall(r'echo "(.*?)"', (ROOT / "scripts/setup.sh").read_text()):
        yield re.escape(text), len(text)


@template_only  # some are those of the examples
def test_every_sentence_of_the_page_is_one_of_the_source():
    patterns = [each for each in sentences_of_the_source() if each[1] > 12]
    told = [" ".join(told.split()) for typed, told in TROUBLES if not typed]
    unknown = [
        text
        for text in told
        if not any(fixed > 0.4 * len(text) and re.fullmatch(pattern, text) for pattern, fixed in patterns)
    ]

    assert len(told) > 15
    assert unknown == []
