"""Fixtures: a small template and a project made from it."""

from support.template_update import originals, project, template

__all__ = ["originals", "project", "template"]
