"""What all tests here share: an environment without a network, and the fixtures."""

from support.fixtures import *  # noqa: F403
