"""Fixtures shared by all tests of the project, and an environment without a network."""

from support.fixtures import *  # noqa: F403
