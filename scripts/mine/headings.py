"""Leave out of pages the headings under which nothing is left. Standard library only."""

from __future__ import annotations

import re

# Marks a heading that tells of what is gone.
GONE = "<!-- gone -->"


def headings(blocks: list[str]) -> str:
    """Return a page, of text and code by turns, without the headings under which nothing is left."""
    # Code keeps its place as one character: a comment in it is no heading.
    text = "\0".join(blocks[::2])
    text = re.sub(rf"^{re.escape(GONE)} (#+) .*\n(?:(?!#).*\n)*", "", text, flags=re.MULTILINE)
    code = blocks[1::2]
    for place in [found.start() for found in re.finditer("\0", text)][::-1]:
        number = text.count("\0", 0, place)
        if not code[number]:
            del code[number]
            text = _unannounced(text[:place]) + text[place + 1 :]
    before = ""
    while before != text:
        before = text
        text = re.sub(r"^(#+) .*\n\s*(?=(#+) )", _empty, text, flags=re.MULTILINE)
        text = re.sub(r"\n##+ .*\s*\Z", "\n", text)
        # What announces a block that is gone.
        text = re.sub(r"(\n\n|^)[^\n#|\0]*(?:\n[^\n#|\0]+)*:\n\n(?=\s*(#|\Z))", r"\1", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
    parts = text.split("\0")
    return parts[0] + "".join(block + part for block, part in zip(code, parts[1:]))


def _unannounced(text: str) -> str:
    """Return a text without the sentence at its end that announces what is gone."""
    if not text.rstrip().endswith(":"):
        return text
    last = len(text.rstrip())
    ends = [text.rfind(mark, 0, last) + len(mark) for mark in (". ", ".\n", "\n\n", "\0") if mark in text[:last]]
    end = max(ends, default=0)
    return text[:end].rstrip(" ") + ("\n\n" if end else "")


def _empty(found: re.Match[str]) -> str:
    """Return a heading, or nothing if the next one is of its level or above."""
    return "" if len(found.group(2)) <= len(found.group(1)) else found.group()
