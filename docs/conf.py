"""The site that `make docs` builds of these pages, which opens without a network."""

from pathlib import Path

from sphinx.application import Sphinx

project = "firstlight"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
html_theme_options = {"light_css_variables": {"code-font-size": "0.74rem"}}  # a line of 100 characters fits
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
smartquotes = False
# A project may delete the page of a command that it does not use; `make init` adds this table.
is_project = "[tool.firstlight.template]" in (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
suppress_warnings = ["toc.not_readable", "myst.xref_missing"] if is_project else []
# Anchors as GitHub makes them: a link works in both places.
myst_heading_anchors = 3


def setup(app: Sphinx) -> None:
    """Let links to CONTRIBUTING.md, which lies outside of docs/, lead to the page that includes it."""
    app.connect("source-read", point_inside)


def point_inside(app: Sphinx, name: str, source: list[str]) -> None:
    """Change the source of a page, its one element, in place."""
    if name != "contributing":
        source[0] = source[0].replace("(../CONTRIBUTING.md", "(contributing.md")
