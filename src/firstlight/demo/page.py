"""Render the page of the demo as a single HTML file that contains its styles and its script."""

import html
from importlib.resources import files
from string import Template

from firstlight.data.image_formats import get_suffixes
from firstlight.demo.inputs import describe_limit
from firstlight.page.render import make_content_security_policy, read_resource, render_json


def render_demo_page(name: str, modality: str, max_bytes: int, facts: dict[str, str]) -> str:
    """Return the page as HTML. Its policy allows only its own script, and requests to its own server.

    Args:
        name: Name of the run.
        modality: "images" or "text".
        max_bytes: Maximum size of an input.
        facts: What is known about the model, by name.
    """
    script = read_demo_file("demo.js")
    assert "</script" not in script.lower()
    # The name of a directory may not be valid UTF-8.
    shown = name.encode("utf-8", "replace").decode()
    settings = {"modality": modality, "max_bytes": max_bytes, "too_large": describe_limit(modality)}
    return Template(read_demo_file("demo.html")).substitute(
        policy=make_content_security_policy(script, connect="'self'"),
        name=html.escape(shown),
        facts=html.escape(" · ".join(f"{key} {value}" for key, value in facts.items())),
        style=read_resource("style.css") + read_demo_file("demo.css"),
        settings=render_json("settings", settings),
        accept=html.escape(",".join(("image/*", *get_suffixes()))),
        script=script,
    )


def read_demo_file(name: str) -> str:
    """Return the contents of a file of this package, with Unix line endings."""
    return files("firstlight.demo").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
