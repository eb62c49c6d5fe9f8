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
SCRIPTS = ("table.js", "charts.js", "sweep.js", "evaluations.js", "provenance.js", "run.js")
# The bundle of plotly.js for cartesian plots: plotly.js-cartesian-dist-min 4.1.1, MIT, with its license next to it.
# A browser draws the first chart after 0.8 to 1.2 s; with the full library after 2 s (Chromium 156, 2 shared cores).
PLOTLY = "plotly/plotly-cartesian.min.js"
# These characters could end the script element that contains the data.
ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render(content: ReportContent) -> str:
    """Return the page as HTML. Its policy allows only its own scripts, and no network access."""
    script = "".join(read_resource(name) for name in SCRIPTS)
    start, plotly = "start();", read_resource(PLOTLY)
    assert "</script" not in (script + plotly).lower()
    selected = [index for index, run in enumerate(content.report["runs"]) if run["selected"]]
    others = [index for index in range(len(content.details)) if index not in selected]
    return Template(read_resource("page.html")).substitute(
        policy=make_content_security_policy(script, plotly, start),
        title=html.escape(f"Runs in {content.report['source']}"),
        style=read_resource("style.css"),
        report=to_embedded_json(content.report),
        # The first chart needs only the selected runs. The browser parses the others after it has drawn that chart.
        selected=render_details(content, selected),
        others=render_details(content, others),
        provenance=to_embedded_json(content.provenance),
        script=script,
        plotly=plotly,
        start=start,
    )


def render_details(content: ReportContent, indices: list[int]) -> str:
    """Return a script element with the details of each of these runs."""
    return "\n".join(
        f'<script type="application/json" id="run-{index}">{to_embedded_json(content.details[index])}</script>'
        for index in indices
    )


def read_resource(name: str) -> str:
    """Return the contents of a file of this package, with Unix line endings."""
    return files("firstlight.page").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def to_embedded_json(value: Any) -> str:
    """Return JSON in ASCII that an HTML parser does not interpret as markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPES)


def make_content_security_policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that allows only these scripts, inline styles and embedded images."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
