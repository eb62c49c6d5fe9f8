"""Make the page: one file that holds its style, its scripts, the charts' library and all data."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any

from firstlight.report.collect import ReportContent

# In this order they are one script.
SCRIPTS = ("table.js", "charts.js", "sweep.js", "run.js")
# plotly.js' own bundle of lines, bars and heatmaps: plotly.js-cartesian-dist-min 4.1.1, MIT, its license beside it.
# A browser draws the first chart after 0.8 to 1.2 s, with the whole library after 2 s (Chromium 156, 2 shared cores).
PLOTLY = "plotly/plotly-cartesian.min.js"
# In the text of a script element these could end it.
ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(content: ReportContent) -> str:
    """Return the page as HTML; it runs its own scripts only, and nothing in it can reach a network."""
    script = "".join(read_resource(name) for name in SCRIPTS)
    start, plotly = "start();", read_resource(PLOTLY)
    assert "</script" not in (script + plotly).lower()
    chosen = [index for index, run in enumerate(content.report["runs"]) if run["chosen"]]
    others = [index for index in range(len(content.details)) if index not in chosen]
    return Template(read_resource("page.html")).substitute(
        policy=make_content_security_policy(script, plotly, start),
        title=html.escape(f"Runs in {content.report['source']}"),
        style=read_resource("style.css"),
        report=to_embedded_json(content.report),
        # The first chart needs the chosen runs alone: the browser reads the others once it is there.
        chosen=render_details(content, chosen),
        others=render_details(content, others),
        script=script,
        plotly=plotly,
        start=start,
    )


def render_details(content: ReportContent, places: list[int]) -> str:
    """Return an element for each of these runs."""
    return "\n".join(
        f'<script type="application/json" id="run-{index}">{to_embedded_json(content.details[index])}</script>'
        for index in places
    )


def read_resource(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("firstlight.report").joinpath("page").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def to_embedded_json(value: Any) -> str:
    """Return JSON in ASCII that no HTML parser takes for markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPES)


def make_content_security_policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that allows these scripts, inline styles, pictures inside the page, no more."""
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
