"""What identifies a sample when its dataset changes or moves: the relative path of a file, or the words of a text."""

import functools
import os
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.run.progress import track

# Up to this number of files, a modified file is noticed by its first bytes. Otherwise, by its size only.
MAX_FILES_TO_READ = 2_000
# Up to this number of files, their sizes are read: a network file system may need a millisecond for each.
MAX_FILES_TO_STAT = 100_000
NUM_BYTES_TO_READ = 16_384


def make_path_identities(paths: Iterable[str | Path], root: str) -> list[str]:
    """Return the path of each file relative to a directory, the same on every file system.

    Args:
        paths: Files in the directory.
        root: The directory.
    """
    base = os.path.join(os.path.normpath(root), "")
    relative = (os.path.normpath(path).removeprefix(base) for path in paths)
    # macOS may decompose accents in file names.
    return [unicodedata.normalize("NFC", path).replace(os.sep, "/") for path in relative]


def make_text_identity(text: str) -> str:
    """Return a text without what tokenizers ignore or unify: the kind of blanks, and how accents are encoded."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def stamp_labels(labels: Iterable[Any]) -> np.ndarray:
    """Return a checksum of each label, shape (labels,) uint32."""
    return np.fromiter((_stamp_text(repr(label)) for label in labels), dtype=np.uint32)


def stamp_identities(identities: Iterable[str], stamps: Iterable[int] | np.ndarray) -> np.ndarray:
    """Return a checksum of the identity and the stamp of each sample, shape (samples,) uint32.

    The checksum distinguishes the samples of a group, which share one identity.
    """
    pairs = zip(identities, np.asarray(stamps).tolist(), strict=True)
    return np.array(
        [zlib.crc32(name.encode("utf-8", "surrogatepass"), stamp) for name, stamp in pairs], dtype=np.uint32
    )


@functools.lru_cache(maxsize=100_000)
def _stamp_text(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def stamp_files(paths: Sequence[str | Path], labels: Iterable[Any], num_files: int) -> np.ndarray:
    """Return a checksum of each file and its label, shape (files,) uint32.

    The more files there are, the less is read of each.

    Args:
        paths: The files.
        labels: Label of each file.
        num_files: Number of files that decides how much is read.
    """
    stamps = stamp_labels(labels)
    if num_files > MAX_FILES_TO_STAT:
        return stamps
    is_read = num_files <= MAX_FILES_TO_READ
    files = track(zip(paths, stamps.tolist(), strict=True), "Reading files", len(paths))
    return np.array([stamp_file(path, stamp, is_read) for path, stamp in files], dtype=np.uint32)


def stamp_file(path: str | Path, start: int, is_read: bool) -> int:
    """Return a checksum of the size of a file, and of its first bytes if `is_read`; 32 bits.

    Args:
        path: The file. If it cannot be read, it is like an empty file: the dataset reports it.
        start: Checksum to continue.
        is_read: Whether to read the file.
    """
    size, head = 0, b""
    try:
        size = os.stat(path).st_size
        if is_read:
            with open(path, "rb") as file:
                head = file.read(NUM_BYTES_TO_READ)
    except OSError:
        pass
    return zlib.crc32(head, zlib.crc32(b"%d" % size, start))
