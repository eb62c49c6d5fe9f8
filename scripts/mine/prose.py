"""Leave out of pages and help what tells of what is gone. Standard library only."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mine import choices, commands
from mine.commands import retyped
from mine.headings import GONE, headings
from mine.tree import Texts

if TYPE_CHECKING:
    from mine.prune import Gone

WIDTH = 120
__all__ = ["pruned", "retyped"]


class Prose:
    """Judges texts, and cuts out of them what goes."""

    def __init__(self, gone: Gone, tests: set[str], files: Texts, before: Texts) -> None:
        """Keep what is looked for: choices as code, classes and modules as the names that they have in the field."""
        self.gone, self.files = gone, files
        self.said = joined(text for path, text in files.items() if path.endswith(".py"))
        self.said_no_more = joined(text for path, text in before.items() if path not in files and path.endswith(".py"))
        groups = gone.keep.stay
        self.other_default = any(choices.default(before, each) not in groups[each] for each in groups)
        self.code = gone.names() | tests
        self.kept = {name for names in gone.keep.stay.values() for name in names}
        files_of = {"/".join(each.split("/")[-2:]) for each in gone.paths if not each.endswith("/")}
        stems = {each.rpartition(".")[2] for each in gone.modules}
        packages = {each.replace("_", "[-_]") for each in gone.packages if len(each) > 6 and each not in ("datasets",)}
        folders = {re.escape(each.partition("/")[2]) for each in gone.paths if each.endswith("/")}
        words = [rf"`[^`\n]*(?<![\w/]){re.escape(each)}(?![\w])[^`\n]*`" for each in self.code if each not in stems]
        words += [
            rf"`{re.escape(each)}(?:\.py)?`|`(?:\w+=)[\w,]*\b{re.escape(each)}\b[\w,]*`" for each in stems | self.code
        ]
        words += [rf"`[^`\n]*(?<![\w.]){re.escape(each)}\b[^`\n]*`" for each in gone.settings]
        words += [rf"(?<![\w.]){re.escape(each)}=" for each in gone.settings]
        words += [rf"{re.escape(each)}" for each in files_of] + list(folders)
        words += [rf"(?<![\w-]){each}(?![\w-])" for each in packages]
        words += [rf"\b{re.sub('(?<=[a-z])(?=[A-Z0-9])', '[ -]?', each)}\b" for each in gone.classes]
        # MiniLM, BERT: a module's name as a proper name, not the word that it may be.
        proper = {each for each in stems if each not in ("text", "images")}
        self.proper = re.compile(
            "|".join(rf"\b{each.replace('_', '[ _-]?')}" for each in proper) or r"(?!)", re.IGNORECASE
        )
        self.pattern = re.compile("|".join(words) or r"(?!)")

    def hit(self, text: str) -> bool:
        """Say whether a text tells of what is gone."""
        bare = re.sub(r"\b(?:model|data|keep|experiment|models)=\[?[\w,]+\]?", "", text)
        return (
            bool(self.pattern.search(text))
            or any(re.search(r"\w[A-Z]", each) for each in self.proper.findall(bare))
            or retyped(text, self.gone) != text
        )

    def unsaid(self, text: str) -> bool:
        """Say whether a sentence with ... for what varies was one of a source that is gone."""
        fixed = [part.strip() for part in " ".join(text.split()).split("...")]
        return any(len(part) > 12 and part in self.said_no_more and part not in self.said for part in fixed)

    def clipped(self, text: str) -> str:
        """Return a text without the code words in a row of such words, and the brackets, that tell of what is gone."""

        def row(found: re.Match[str]) -> str:
            items = re.findall(r"`[^`]*`", found.group())
            live = [each for each in items if each.strip("`") not in self.code]
            return ", ".join(live) if live and len(live) < len(items) else found.group()

        text = re.sub(r"`[^`\n]*`(?:(?:,? and |, )`[^`\n]*`)+", row, text)
        return re.sub(
            r"\s*\([^()\n]*\)",
            lambda found: (
                ""
                if self.hit(found.group()) and "](" not in text[max(0, found.start() - 1) : found.start() + 2]
                else found.group()
            ),
            text,
        )

    def sentences(self, text: str) -> str:
        """Return a paragraph without the sentences that tell of what is gone."""
        if not self.hit(text):
            return text
        lead = re.match(r"\s*\*\*.*?\*\*", text, re.DOTALL)
        if lead and self.hit(self.clipped(lead.group())):
            return ""
        parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\[`*\"(])", " ".join(text.split()))
        clipped = [part if not self.hit(part) else self.clipped(part) for part in parts]
        live = [self.clauses(part) if self.hit(part) else part for part in clipped]
        live = [part for part in live if part]
        told = " ".join(live)
        # A paragraph goes with its first words, where they are its heading.
        if not told or (lead and not told.startswith(" ".join(lead.group().split()))):
            return ""
        return textwrap.fill(told, WIDTH, break_long_words=False, break_on_hyphens=False)

    def clauses(self, sentence: str) -> str:
        """Return a sentence without the clauses that go, parted by semicolons; nothing if its first one goes."""
        parts = re.split(r";\s+", sentence)
        live = [part for part in parts if not self.hit(part)]
        if not live or live[0] is not parts[0]:
            return ""
        return "; ".join(live).rstrip(".,:") + (sentence[-1] if sentence[-1] in ".!?:" else "")


def joined(sources: Iterable[str]) -> str:
    """Return sources as one text, in which a string that is broken over lines is whole."""
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))


def pruned(before: Texts, files: Texts, gone: Gone, tests: set[str]) -> Texts:
    """Return the files with shorter pages and help."""
    if not gone.names() and not gone.paths:
        return files
    prose = Prose(gone, tests, files, before)
    after = dict(files)
    for path, text in files.items():
        if path.endswith(".md"):
            after[path] = page(text, prose)
        elif path == "scripts/help.txt":
            after[path] = commands.helped(text, prose)
    return after


def page(text: str, prose: Prose) -> str:
    """Return a page without what tells of what is gone, a section about a data set included."""
    sections = re.split(r"(?m)^(?=## )", text)
    live = [each for number, each in enumerate(sections) if not number or not commands.about(each, prose)]
    if len(live) < len(sections):
        # What counted the sections counts no longer.
        live[0] = re.sub(r"(?m)^(?:Two|Three|Four|Five) of [^\n.]*(?:\n[^\n.]+)*\.\s?", "", live[0])
    text = "".join(live)
    blocks = re.split(
        r"(^[ \t]*```[^\n]*\n.*?^[ \t]*```[ \t]*$|^[ \t]*~~~.*?^[ \t]*~~~$)", text, flags=re.MULTILINE | re.DOTALL
    )
    told = [
        commands.fenced(block, prose) if number % 2 else written(block, prose) for number, block in enumerate(blocks)
    ]
    for number in range(1, len(blocks), 2):
        if not told[number] and blocks[number].startswith("```text") and not blocks[number - 1].rstrip().endswith(":"):
            # What explains an example goes with it.
            told[number + 1] = re.sub(r"\A\s*[^#\s](?:.+\n)+", "\n", told[number + 1])
    return headings(told)


def written(text: str, prose: Prose) -> str:
    """Return what stands between blocks of code: paragraphs, lists and tables."""
    paragraphs = re.split(r"(\n[ \t]*\n)", text)
    return "".join(part if number % 2 else paragraph(part, prose) for number, part in enumerate(paragraphs))


def paragraph(text: str, prose: Prose) -> str:
    """Return a paragraph, list or table without what goes."""
    body = text.strip("\n")
    if not body or (not prose.hit(body)):
        return text
    before, after = text[: len(text) - len(text.lstrip("\n"))], text[len(text.rstrip("\n")) :]
    if body.lstrip().startswith("|"):
        told = table(body, prose)
    elif re.match(r"\s*([-*]|\d+\.) ", body):
        told = items(body, prose)
    elif body.startswith("#"):
        heading, _, rest = body.partition("\n")
        told = (
            f"{heading}\n{prose.sentences(rest)}"
            if rest
            else (heading if not prose.hit(heading) else f"{GONE} {heading}")
        )
    else:
        told = prose.sentences(body)
    return before + told + after


def table(body: str, prose: Prose) -> str:
    """Return a table without the rows that go; of a row about a choice that stays, only parts of its cells go."""
    lines = body.splitlines()
    live = []
    for line in lines[2:]:
        if re.match(r"\| `(?:make|python|torchrun|srun) [^|`]*` \|[^|]*\|$", line):
            row = commands.row(line, prose)
            live += [row] if row and row not in live else []
            continue
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        told = [prose.clipped(cell) if prose.hit(cell) else cell for cell in cells]
        about_kept = prose.kept & set(re.findall(r"`([^`]+)`", told[0]))
        if about_kept:
            told = [f" {prose.clauses(cell.strip())} " if prose.hit(cell) else cell for cell in told]
        elif any(cell.strip() and not new.strip() for cell, new in zip(cells, told)):
            continue
        lost_tests = any(re.search(r"`test_\w+`", cell) for cell in told if prose.hit(cell))
        if not any(prose.hit(cell) for cell in told) and not lost_tests:
            live.append(f"|{'|'.join(told)}|" if told != cells else line)
    return "\n".join([*lines[:2], *live]) if live else ""


def items(body: str, prose: Prose) -> str:
    """Return a list without the items that go."""
    found = re.split(r"\n(?=\s*(?:[-*]|\d+\.) )", body)
    live = []
    for each in found:
        mark = re.match(r"\s*(?:[-*]|\d+\.) ", each)
        begin = mark.group() if mark else ""
        told = prose.sentences(each[len(begin) :])
        if told:
            live.append(begin + told.replace("\n", "\n" + " " * len(begin)) if prose.hit(each) else each)
    return "\n".join(live)
