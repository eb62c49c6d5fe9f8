"""A pickle that runs code when it is loaded."""

from pathlib import Path


class MaliciousPickle:
    """Create a file when it is unpickled, as evidence that code has run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
