"""What a file that runs code leaves behind."""

from pathlib import Path


class MaliciousPickle:
    """Touch a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
