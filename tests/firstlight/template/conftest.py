"""Tests of the template itself: a project has a README and pages of its own."""

from support.checkout import IS_TEMPLATE

collect_ignore_glob = [] if IS_TEMPLATE else ["test_*.py"]
