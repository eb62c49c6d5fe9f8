"""Render the report as a single HTML file that contains its styles, scripts, Plotly and all data."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any

from firstlight.run_data.collect import ReportContent

# Concatenated in this order to one script.
SCRIPTS = ("table.js", "charts.js", "sweep.js", "evaluations.js", "provenance.js", "run.js", "update.js")
# The bundle of plotly.js for cartesian plots: plotly.js-cartesian-dist-min 4.1.1, MIT, with its license next to it.
# A browser draws the first chart after 0.8 to 1.2 s; with the full library after 2 s (Chromium 156, 2 shared cores).
PLOTLY = "plotly/plotly-cartesian.min.js"
# These characters could end the script element that contains the data.
ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(content: ReportContent) -> str:
    """Return the page as HTML, with all data. Its policy allows only its own scripts, and no network access."""
    selected = content.report["selection"]
    others = [index for index in range(len(content.details)) if index not in selected]
    return render_page(
        title=f"Runs in {content.report['source']}",
        generator="firstlight report",
        data_script=read_resource("embedded.js"),
        report=render_json("report", content.report),
        # The first chart needs only the selected runs. The browser parses the others after it has drawn that chart.
        selected=render_details(content, selected),
        others=render_details(content, others),
        provenance=render_json("provenance", content.provenance),
    )


def render_page(title: str, generator: str, data_script: str, connect: str = "", **data: str) -> str:
    """Return the page as HTML.

    Args:
        title: Its title.
        generator: The command that makes the page.
        data_script: The script that loads the data and calls `update` of update.js.
        connect: Where the script may load data from, such as "'self'", in the syntax of a Content-Security-Policy.
        **data: The elements with the data: "report", "selected", "others" and "provenance".
    """
    script = "".join(read_resource(name) for name in SCRIPTS) + data_script
    start, plotly = "start();", read_resource(PLOTLY)
    assert "</script" not in (script + plotly).lower()
    return Template(read_resource("page.html")).substitute(
        policy=make_content_security_policy(script, plotly, start, connect=connect),
        title=html.escape(title),
        generator=generator,
        style=read_resource("style.css"),
        script=script,
        plotly=plotly,
        start=start,
        **{"report": "", "selected": "", "others": "", "provenance": "", **data},
    )


def render_details(content: ReportContent, indices: list[int]) -> str:
    """Return a script element with the details of each of these runs."""
    return "\n".join(render_json(f"run-{index}", content.details[index]) for index in indices)


def render_json(id: str, value: Any) -> str:
    """Return a script element that contains a value as JSON."""
    return f'<script type="application/json" id="{id}">{to_embedded_json(value)}</script>'


def read_resource(name: str) -> str:
    """Return the contents of a file of this package, with Unix line endings."""
    return files("firstlight.page").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def to_embedded_json(value: Any) -> str:
    """Return JSON in ASCII that an HTML parser does not interpret as markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPES)


def make_content_security_policy(*scripts: str, connect: str = "") -> str:
    """Return a Content-Security-Policy that allows only these scripts, inline styles and embedded images."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    connections = f"connect-src {connect}; " if connect else ""
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"{connections}base-uri 'none'; form-action 'none'"
    )


def find_content_security_policy(page: str) -> str:
    """Return the Content-Security-Policy that a page contains."""
    return page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
