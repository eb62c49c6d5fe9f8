"""Skip these tests in a project, which has its own README and docs."""

from support.checkout import IS_TEMPLATE

collect_ignore_glob = [] if IS_TEMPLATE else ["test_*.py"]
