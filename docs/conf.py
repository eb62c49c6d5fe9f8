"""Sphinx configuration of the documentation. `make docs` builds it into site/, for reading offline."""

from pathlib import Path

from sphinx.application import Sphinx

project = "firstlight"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
html_theme_options = {"light_css_variables": {"code-font-size": "0.74rem"}}  # a line of 100 characters fits
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
smartquotes = False
# A project may delete the page of a command that it does not use. `make init` adds the table that marks a project.
is_project = "[tool.firstlight.template]" in (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
suppress_warnings = ["toc.not_readable", "myst.xref_missing"] if is_project else []
# The same anchors as on GitHub, so that a link works in both places.
myst_heading_anchors = 3


def setup(app: Sphinx) -> None:
    """Register the replacement of links to CONTRIBUTING.md, which is outside docs/."""
    app.connect("source-read", link_contributing_page)


def link_contributing_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Link to the page that includes CONTRIBUTING.md; `source` is a list with the text of a page."""
    if name != "contributing":
        source[0] = source[0].replace("(../CONTRIBUTING.md", "(contributing.md")
